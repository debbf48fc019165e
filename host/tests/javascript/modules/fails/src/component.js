// Fails in every way that there is. The test knows the lines of this file.
import { ambient } from '../../ambient/src/component.js';
import { explode } from 'made-up';
import { Refusal, deeper } from './deeper.js';

const unset = {};

const WAYS = {
  error() {
    throw new Error('words that somebody reads');
  },
  type: () => unset.missing.field,
  case() {
    throw { payload: { tag: 'no-such-case' } };
  },
  payload() {
    throw Object.assign(new Error('an odd payload'), { payload: { tag: 'worse', val: 0.5 } });
  },
  text() {
    throw 'a text, and no error';
  },
  own() {
    throw new Refusal('of a class of its own');
  },
  async rejected() {
    await null;
    throw new RangeError('after an await');
  },
  deep: () => deeper(),
  recursion: () => WAYS.recursion() + 1,
  json: () => JSON.parse('{'),
  cause() {
    try {
      return unset.missing.field;
    } catch (cause) {
      throw new Error('with a cause', { cause });
    }
  },
  package: () => explode(),
  result: () => 5,
  timer: () => setTimeout(() => {}, 10),
  good: () => 'good',
  bad() {
    throw { payload: { tag: 'bad', val: 'the contract knows this' } };
  },
  worse() {
    throw { tag: 'worse', val: -1n };
  },
  getter() {
    throw { get payload() { throw new RangeError('from a getter'); } };
  },
};

export const fails = {
  fail: (how) => WAYS[how](),
  plain: (how) => WAYS[how](),
  refused: ambient.refused,
};
