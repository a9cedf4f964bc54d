// What the official readers make of a file: `node read.mjs NODE_MODULES schema|import FILE`, answered as JSON.
//
// schema: the errors of speedscope's JSON schema for its own format. import: the profiles of speedscope's importers, for
// any format that it knows. Its package is a page whose script imports what it is shown; here that script runs without
// the page's last step, drawing, and what it would draw is told.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import vm from "node:vm";

const [packages, what, file] = process.argv.slice(2);
const modules = resolve(packages);
const release = join(modules, "speedscope", "dist", "release");

function errors(text) {
  const Ajv = createRequire(join(modules, "x.js"))("ajv");
  const schema = JSON.parse(readFileSync(join(release, "file-format-schema.json"), "utf8"));
  const valid = new Ajv({ strict: false }).compile(schema);
  return valid(JSON.parse(text)) ? [] : valid.errors.slice(0, 5);
}

// Whatever the script asks of the page that is not there.
const nothing = new Proxy(function () {}, {
  get: (_, key) => (key === Symbol.toPrimitive ? () => "" : key === "then" ? undefined : nothing),
  set: () => true,
  apply: () => nothing,
  construct: () => nothing,
});

function importer() {
  const name = readdirSync(release).find((one) => /^speedscope-.*\.js$/.test(one));
  const script = readFileSync(join(release, name), "utf8");
  const drawing = script.lastIndexOf("console.log(`speedscope v");
  const found = /async function (\w+)\(\w+,\w+\)\{return\(await \w+\)\.importProfileGroupFromText\(/.exec(script);
  if (drawing < 0 || !found) throw new Error("another speedscope: its importer was not found");
  const warnings = [];
  const say = (...words) => warnings.push(words.join(" "));
  const world = {
    console: { log() {}, warn: say, error: say }, window: nothing, self: nothing, document: nothing, location: nothing,
    navigator: nothing, performance, TextDecoder, TextEncoder, atob, setTimeout, result: {},
  };
  vm.runInNewContext(`${script.slice(0, drawing)}result.read=${found[1]}})();`, world);
  return { read: world.result.read, warnings };
}

async function profiles(text) {
  const { read, warnings } = importer();
  const group = await read(basename(file), text);
  if (!group) throw new Error("speedscope does not know this format");
  const told = group.profiles.map((profile) => {
    const events = [];
    profile.forEachCall(
      (node, at) => events.push(["O", node.frame.name, at]),
      (node, at) => events.push(["C", node.frame.name, at]),
    );
    const frames = [];
    profile.forEachFrame((frame) => frames.push([frame.name, frame.getSelfWeight(), frame.getTotalWeight()]));
    return { name: profile.getName(), unit: profile.getWeightUnit(), weight: profile.getTotalWeight(), events, frames };
  });
  return { warnings, profiles: told };
}

process.on("uncaughtException", (error) => {
  // its stack would show a line of half a megabyte
  console.error(`${error}`.slice(0, 500));
  process.exit(1);
});
const text = readFileSync(file, "utf8");
console.log(JSON.stringify(what === "schema" ? errors(text) : await profiles(text)));
