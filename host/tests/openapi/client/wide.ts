// A client of the shop whose 64-bit integers are strings (`int64 = "string"`): no digit is lost. It runs as `node wide.ts URL`.

import assert from 'node:assert/strict';
import createClient from 'openapi-fetch';
import type { paths } from './wide-api.d.ts';

const shop = createClient<paths>({ baseUrl: process.argv[2] ?? 'http://127.0.0.1:8080' });
const price = { currency: 'EUR', minor: '9007199254740993' };
const lines = [{ sku: 'tea', quantity: 3, unit_price: price }];
const { data: order } = await shop.POST('/orders', { body: { customer: 'ada', lines, payment: 'invoice' } });
const total: string | undefined = order?.total.minor;
assert.equal(total, (9007199254740993n * 3n).toString());
console.log(total);
