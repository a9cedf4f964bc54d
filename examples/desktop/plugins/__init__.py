"""Each module here is a plugin: a class ``Plugin`` as pluginhost.Plugin describes it."""
