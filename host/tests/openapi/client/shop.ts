// A client of the shop, with the types that `openapi-typescript` makes of its document: it places, reads and lists orders, changes a note,
// and tells errors apart. It runs as `node shop.ts URL`.

import assert from 'node:assert/strict';
import createClient from 'openapi-fetch';
import type { components, paths } from './api.d.ts';

type Order = components['schemas']['order'];
type Draft = components['schemas']['draft'];

const url = process.argv[2] ?? 'http://127.0.0.1:8080';
const shop = createClient<paths>({ baseUrl: url });

function draft(minor: number): Draft {
  const price = { currency: 'EUR', minor };
  return { customer: 'ada', lines: [{ sku: 'tea', quantity: 2, unit_price: price }], payment: { card: 'tok_visa' } };
}

async function place(draft: Draft, key: string): Promise<Order> {
  const { data, error } = await shop.POST('/orders', { body: draft, params: { header: { 'idempotency-key': key } } });
  if (data === undefined) throw new Error(`no order: ${error.title}: ${error.detail}`);
  return data;
}

// An order is placed and read.
const order = await place(draft(450), 'key-1');
assert.equal((await place(draft(450), 'key-1')).id, order.id);
const { data: read, response } = await shop.GET('/orders/{id}', { params: { path: { id: order.id } } });
assert.deepEqual(read, order);
const status: 'pending' | 'paid' | 'declined' | 'cancelled' = order.status;
assert.equal(status, 'paid');
assert.match(response.headers.get('etag') ?? '', /^"/);

// 64-bit integers are numbers, and exact up to 2^53.
const total: number = order.total.minor;
assert.equal(total, 900);
const large = await place(draft(2 ** 51), 'key-2');
assert.equal(large.total.minor, 2 ** 52);

// A list comes in pages. `next` is the cursor of the page after this one.
const ids: string[] = [];
for (let after: string | null | undefined; after !== null; ) {
  const query = after === undefined ? { customer: 'ada', limit: 1 } : { customer: 'ada', limit: 1, after };
  const { data: page, response } = await shop.GET('/orders', { params: { query } });
  assert.ok(page !== undefined);
  ids.push(...page.items.map((item) => item.id));
  const link = response.headers.get('link');
  assert.equal(link, page.next === null ? null : `</orders?customer=ada&after=${encodeURIComponent(page.next)}>; rel="next"`);
  after = page.next;
}
assert.deepEqual(ids, [large.id, order.id]);

/** Says what an answer of an error means: each case has its own payload. */
async function explain(wanted: Draft): Promise<string> {
  const { error } = await shop.POST('/orders', { body: wanted });
  if (error === undefined) return 'it was placed';
  if (!('case' in error)) return `the host says ${error.type}`;
  switch (error.case) {
    case 'invalid':
      return `${error.payload.field}: ${error.payload.reason}`;
    case 'declined':
      return `declined: ${error.payload}`;
    case 'not-found':
    case 'conflict':
    case 'unavailable':
    case 'storage':
      return error.detail;
    default:
      // No case is left.
      return error satisfies never;
  }
}
assert.match(await explain({ ...draft(450), lines: [] }), /^lines: /);
assert.match(await explain({ ...draft(450), payment: { card: 'tok_declined' } }), /^declined: /);
assert.equal(await explain(JSON.parse('{"customer":5}')), 'the host says /problems/invalid-request');

const missing = await shop.GET('/orders/{id}', { params: { path: { id: 'nobody' } } });
assert.equal(missing.response.status, 404);
assert.ok(missing.error !== undefined && 'case' in missing.error && missing.error.case === 'not-found');
const asked: string = missing.error.payload;
assert.equal(asked, 'nobody');

// A merge patch: a field that is absent stays, null removes it.
const note = { params: { path: { id: order.id } }, headers: { 'Content-Type': 'application/merge-patch+json' } };
await shop.PATCH('/orders/{id}/note', { ...note, body: { gift: 'With love', delivery: 'Ring twice' } });
const { data: changed } = await shop.PATCH('/orders/{id}/note', { ...note, body: { gift: null } });
assert.deepEqual([changed?.gift, changed?.delivery], [null, 'Ring twice']);

// Bytes have no type: the client says how it sends and reads them.
const picture = { params: { path: { sku: 'tea' } } };
const bytes = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAIAAAAA', 'base64');
const stored = await shop.PUT('/products/{sku}/picture', {
  ...picture,
  body: bytes,
  bodySerializer: () => bytes,
  headers: { 'Content-Type': 'image/png' },
});
assert.deepEqual([stored.data?.width, stored.data?.height], [2, 3]);
const shown = await shop.GET('/products/{sku}/picture', { ...picture, parseAs: 'arrayBuffer' });
assert.deepEqual(Buffer.from(shown.data ?? new ArrayBuffer(0)), bytes);

console.log(`${ids.length} orders`);
