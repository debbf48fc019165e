// Notifications over a real database.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SqlError } from '../src/common.ts';
import type { Platform } from '../src/common.ts';
import { Conflict, Storage, Unavailable } from '../src/model.ts';
import { Notifications, quoted } from '../src/service.ts';
import type { Notice } from '../src/service.ts';
import { TEMPLATES, Template } from '../src/template.ts';
import { newPlatform } from '../testing/platform.ts';

const notice = (recipient: string, order: string): Notice => ({
  recipient,
  template: 'order-placed',
  fields: [{ name: 'total', value: '9.00 EUR' }, { name: 'order', value: order }],
});

test('a notice is rendered, kept and logged', (t) => {
  const platform = newPlatform(t);
  const shop = new Notifications(platform);
  const told = shop.notify(notice('ada', '1'), 'k');
  assert.equal(told.text, 'Thank you! Your order 1 over 9.00 EUR was placed.');
  assert.deepEqual(shop.list('ada'), { items: [told], next: undefined });
  assert.deepEqual(platform.logged, [`notifications: to "ada": ${told.text}`]);
});

test('a key names one notice', (t) => {
  const platform = newPlatform(t);
  const shop = new Notifications(platform);
  const told = shop.notify(notice('ada', '1'), 'k');
  const again = notice('ada', '1');
  again.fields = [...again.fields].reverse();
  assert.deepEqual(shop.notify(again, 'k'), told);
  const cancelled = { ...notice('ada', '1'), template: 'order-cancelled' };
  for (const other of [notice('ada', '2'), notice('bob', '1'), cancelled]) {
    assert.throws(() => shop.notify(other, 'k'), Conflict);
  }
  // A later build may word it otherwise: it's the same notice all the same.
  platform.sabotage("update notifications set text = 'older words'");
  assert.equal(shop.notify(notice('ada', '1'), 'k').id, told.id);
  assert.equal(platform.count('select count(*) from notifications'), 1);
  assert.equal(platform.logged.length, 1);
});

test('notices are checked', (t) => {
  const platform = newPlatform(t);
  const shop = new Notifications(platform);
  const long = 'x'.repeat(129);
  const wrong: [Notice, string, string][] = [
    [notice('', '1'), 'k', 'recipient'],
    [notice(long, '1'), 'k', 'recipient'],
    [{ ...notice('ada', '1'), template: 'hello' }, 'k', 'template'],
    [{ ...notice('ada', '1'), fields: [] }, 'k', 'fields'],
    [notice('ada', '1'), '', 'deduplication-key'],
    [notice('ada', '1'), long, 'deduplication-key'],
  ];
  for (const [refused, key, field] of wrong) assert.throws(() => shop.notify(refused, key), { field });
  assert.equal(platform.count('select count(*) from notifications'), 0);
});

test('lists are paged, newest first', (t) => {
  const shop = new Notifications(newPlatform(t));
  for (let order = 1; order <= 5; order += 1) {
    shop.notify(notice('ada', `${order}`), `a${order}`);
    shop.notify(notice('bob', `${order}`), `b${order}`);
  }
  const first = shop.list('ada', 3);
  const second = shop.list('ada', 3, first.next);
  assert.equal([...first.items, ...second.items].map(({ text }) => text[22]).join(''), '54321');
  assert.equal(second.next, undefined);
  const wrong: [string, number | undefined, string | undefined, string][] = [
    ['ada', 0, undefined, 'limit'],
    ['ada', 101, undefined, 'limit'],
    ['ada', undefined, '?', 'after'],
    ['', undefined, undefined, 'recipient'],
  ];
  for (const [recipient, limit, after, field] of wrong) {
    assert.throws(() => shop.list(recipient, limit, after), { field });
  }
});

test('a database that fails is told', (t) => {
  const platform = newPlatform(t);
  const busy: Platform = {
    ...platform,
    execute: () => {
      throw new SqlError('the database is busy', true);
    },
  };
  assert.throws(() => new Notifications(busy).notify(notice('ada', '1'), 'k'), Unavailable);
  platform.sabotage('drop table notifications');
  const shop = new Notifications(platform);
  assert.throws(() => shop.notify(notice('ada', '1'), 'k'), (error: unknown) => error instanceof Storage && error.cause instanceof SqlError);
  assert.throws(() => shop.list('ada'), Storage);
});

test('every template renders with its places and no others', () => {
  for (const template of TEMPLATES) {
    assert.deepEqual([...template.places].sort(), template.places);
    const rendered = template.render(template.arrange(template.places.map((name) => ({ name, value: '<>' }))));
    assert.equal(rendered.split('<>').length - 1, template.places.length, rendered);
  }
});

test('values are not read again', () => {
  const template = Template.find('order-placed');
  const fields = template.arrange([{ name: 'total', value: '{order} $&' }, { name: 'order', value: '{total}' }]);
  assert.equal(template.render(fields), 'Thank you! Your order {total} over {order} $& was placed.');
});

test('fields fit the template', () => {
  const template = Template.find('order-placed');
  const refused = (pairs: [string, string][], field: string) =>
    assert.throws(() => template.arrange(pairs.map(([name, value]) => ({ name, value }))), { field });
  refused([['order', '1']], 'fields');
  refused([['order', '1'], ['colour', 'red']], 'fields[1].name');
  refused([['order', '1'], ['order', '2']], 'fields[1].name');
  refused([['order', '1\n2'], ['total', '2']], 'fields[0].value');
  refused([['order', '1\u0085'], ['total', '2']], 'fields[0].value');
  refused([['order', '1'.repeat(257)], ['total', '2']], 'fields[0].value');
});

test('a logged recipient is one piece of one line', () => {
  const cases: [string, string][] = [
    ['ada', '"ada"'],
    ['"a\\b"', '"\\"a\\\\b\\""'],
    ['a\n\t\r\0\u001b', '"a\\n\\t\\r\\u{0}\\u{1b}"'],
    ["José 日本 'x' e\u0301", '"José 日本 \'x\' e\u0301"'],
    ['\u200b\u2028\u202e\u2066\ufeff\u0085', '"\\u{200b}\\u{2028}\\u{202e}\\u{2066}\\u{feff}\\u{85}"'],
  ];
  for (const [text, expected] of cases) assert.equal(quoted(text), expected);
});
