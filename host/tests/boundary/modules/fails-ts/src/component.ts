// Fails in every way that there is. The test knows the lines of this file.

import type * as contract from 'test:fails/fails@1.0.0';
import { Refusal, deeper } from './deeper.ts';

/** Types leave no trace in the component: they must move no line. */
interface Ways {
  [how: string]: () => string;
}

const WAYS: Ways = {
  good: () => 'well',
  error(): never {
    throw new Error('words that somebody reads');
  },
  text(): never {
    throw 'a text, and no error' as unknown;
  },
  deep: () => deeper<string>('from another file'),
  bad(): never {
    const payload: contract.Error = { tag: 'bad', val: 'the contract knows this' };
    throw Object.assign(new Refusal('refused'), { payload });
  },
};

function act(how: string): string {
  const way = WAYS[how];
  return (way as NonNullable<typeof way>)();
}

export const fails: typeof contract = { fail: act, plain: act, refused: act };
