import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Page, byteLength, checkKey, checkText, isUlid, timestamp, ulid } from '../src/common.ts';

const ALL = (1n << 128n) - 1n;

test('an id holds its moment and its randomness', () => {
  // The example of the specification's reference implementation.
  const moment = 1_469_918_176_385n;
  assert.equal(ulid(moment, ALL), `01ARYZ6S41${'Z'.repeat(16)}`);
  assert.equal(ulid(moment, 33n), '01ARYZ6S410000000000000011');
  assert.ok(isUlid(ulid(moment, 7n)));
});

test('ids sort by time', () => {
  const ids = [0n, 1n, 31n, 32n, 1n << 40n].map((millis) => ulid(millis, 9n));
  assert.deepEqual([...ids].sort(), ids);
  assert.ok(ids.every((id) => id < '~'));
});

test('other texts are no ids', () => {
  for (const text of ['', '01ARYZ6S41', '81ARYZ6S41ZZZZZZZZZZZZZZZZ', '01ARYZ6S41ZZZZZZZZZZZZZZZU', '01aryz6s41zzzzzzzzzzzzzzzz']) {
    assert.ok(!isUlid(text), text);
  }
});

test('texts are bounded in bytes', () => {
  checkText('name', 'x', 1);
  assert.throws(() => checkText('name', '', 1), { message: 'name must not be empty' });
  assert.throws(() => checkText('name', 'é', 1), { message: 'name must not be longer than 1 bytes' });
  checkKey('key', 'k'.repeat(128));
  assert.throws(() => checkKey('key', 'k'.repeat(129)), { field: 'key' });
  assert.equal(byteLength('aé日🦀'), 10);
});

test('moments have milliseconds', () => {
  assert.equal(timestamp(1_795_421_730_007n), '2026-11-23T08:15:30.007Z');
});

test('pages follow each other', () => {
  const items = ['01ARYZ6S41ZZZZZZZZZZZZZZZ2', '01ARYZ6S41ZZZZZZZZZZZZZZZ1'].map((id) => ({ id }));
  const first = new Page(1);
  assert.deepEqual([first.before, first.fetch], ['~', 2]);
  const cut = first.cut(items);
  assert.deepEqual(cut.items, items.slice(0, 1));
  const second = new Page(1, cut.next);
  assert.equal(second.before, items[0]?.id);
  assert.deepEqual(second.cut(items.slice(1)), { items: items.slice(1), next: undefined });
});

test('limits and cursors are checked', () => {
  for (const limit of [0, 101, 2 ** 32 - 1]) assert.throws(() => new Page(limit), { field: 'limit' });
  const good = 'MDFBUllaNlM0MVpaWlpaWlpaWlpaWlpaWjE';
  for (const cursor of ['', 'x', 'fg', 'é', 'MDFBUllaNlM0MQ', `${good}\n`, ` ${good}`, `${good}=`, `${good.slice(0, -1)}F`]) {
    assert.throws(() => new Page(1, cursor), { field: 'after' }, cursor);
  }
  assert.equal(new Page(undefined, good).fetch, 21);
});
