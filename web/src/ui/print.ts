/** On paper: light colours, pictures whole. */

import * as board from '../charts/board.ts';
import { printAll } from './surface.ts';
import { print } from './theme.ts';

export function startPrint(): void {
  const set = (on: boolean): void => {
    document.documentElement.classList.toggle('printed', on);
    print(on);
    printAll(on);
    board.drawAll();
  };
  addEventListener('beforeprint', () => set(true));
  addEventListener('afterprint', () => set(false));
}
