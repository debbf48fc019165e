// What a page of another origin does at the shop. Each step says what must hold.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { drive, facts, openPage } from './browser.js';

const { shop, allowed, stranger } = facts;
/** The speed of uploads while a picture is sent, in bytes a second. Without a bound, the picture is sent before the browser tells of it. */
const UPLOAD_SPEED = 512 * 1024;
/** The minimum number of times that the browser tells how much of the picture is sent. It tells it every 50 ms. */
const LEAST_EVENTS = 4;
/** The width and the height of the picture, in pixels. Each pixel has its own colour, so the picture has some 3 bytes for each. */
const SIDE = 512;

/** Runs in a page: sends a request, and returns what a script can read of its answer. */
const ask = async ({ url, json, headers = {}, text, ...init }) => {
  if (json !== undefined) {
    [init.body, headers['Content-Type']] = [JSON.stringify(json), 'application/json'];
  }
  try {
    const answer = await fetch(url, { headers, ...init });
    const body = await answer.text();
    const read = (name) => answer.headers.get(name);
    const head = { location: read('location'), tag: read('etag'), generation: read('watertight-generation') };
    return { status: answer.status, type: read('content-type'), ...head, text: body };
  } catch (fault) {
    return { fault: String(fault) };
  }
};

function draft(customer) {
  const price = { currency: 'EUR', minor: 450 };
  return { customer, lines: [{ sku: 'tea', quantity: 2, unit_price: price }], payment: { card: 'tok_visa' } };
}

/** The preflights of a page for a path. */
async function preflights(seen, path) {
  await seen.settled();
  return seen.requests.filter((one) => one.type === 'Preflight' && new URL(one.url).pathname === path);
}

await drive(async (browser, step) => {
  const seen = await step('a page of another origin opens', () => openPage(browser, allowed));
  const { page } = seen;
  const send = (path, init = {}) => page.evaluate(ask, { url: shop + path, ...init });
  const place = (customer, key) =>
    send('/orders', { method: 'POST', json: draft(customer), headers: { 'Idempotency-Key': key, 'X-Api-Key': '7' } });

  const order = await step('an order is placed after a preflight', async () => {
    const placed = await place('ada', 'first');
    assert.equal(placed.status, 201, JSON.stringify(placed));
    const asked = await preflights(seen, '/orders');
    assert.deepEqual(asked.map(({ method, status }) => [method, status]), [['OPTIONS', 204]]);
    return { ...placed, id: JSON.parse(placed.text).id };
  });

  await step('the page reads the headers that are exposed, and no others', () => {
    assert.equal(order.location, `/orders/${order.id}`);
    assert.match(order.tag, /^"[^"]+"$/);
    assert.equal(order.generation, null);
  });

  await step('the browser remembers the preflight', async () => {
    const again = await place('ada', 'first');
    assert.deepEqual([again.status, JSON.parse(again.text).id], [201, order.id]);
    assert.equal((await preflights(seen, '/orders')).length, 1);
  });

  await step('a script that asks with the tag is answered 304', async () => {
    const same = await send(order.location, { cache: 'no-store', headers: { 'If-None-Match': order.tag } });
    assert.deepEqual([same.status, same.tag, same.text], [304, order.tag, ''], JSON.stringify(same));
  });

  await step('the browser itself asks with the tag, and keeps what it has', async () => {
    const first = await send(order.location);
    const second = await send(order.location);
    assert.deepEqual([first.status, second.status, second.text], [200, 200, first.text]);
    await seen.settled();
    const gets = seen.requests.filter((one) => one.method === 'GET' && one.url === shop + order.location);
    assert.deepEqual(gets.slice(-2).map((one) => one.status), [200, 304]);
  });

  await step('a compressed answer is asked for again with its tag', async () => {
    const lines = Array(40).fill(draft('bob').lines[0]);
    const placed = await send('/orders', { method: 'POST', json: { ...draft('bob'), lines } });
    const first = await send(placed.location);
    const second = await send(placed.location);
    assert.deepEqual([first.status, JSON.parse(first.text).lines.length, second.text], [200, 40, first.text]);
    assert.match(first.tag, /^W\//);
    await seen.settled();
    const gets = seen.requests.filter((one) => one.method === 'GET' && one.url === shop + placed.location);
    assert.deepEqual(gets.map((one) => one.status), [200, 304]);
    assert.match(gets[0].encoding, /^(zstd|br|gzip)$/);
  });

  await step('the document of the application can be read', async () => {
    const found = await send('/openapi.json');
    assert.deepEqual([found.status, JSON.parse(found.text).info.title], [200, 'shop']);
  });

  await step('an error can be read', async () => {
    const before = seen.errors.length;
    const bad = await send('/orders', { method: 'POST', json: { ...draft('ada'), lines: [] } });
    assert.deepEqual([bad.status, bad.type, JSON.parse(bad.text).case], [422, 'application/problem+json', 'invalid']);
    // Chromium's console tells of each answer of an error.
    assert.equal(seen.errors.splice(before).length, 1);
  });

  const sent = await step('a picture is uploaded with progress', async () => {
    await seen.network.send('Network.emulateNetworkConditions', {
      offline: false,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput: UPLOAD_SPEED,
    });
    const told = await page.evaluate(uploadPicture, { url: `${shop}/products/tea/picture`, side: SIDE });
    await seen.network.send('Network.emulateNetworkConditions', {
      offline: false,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput: -1,
    });
    assert.equal(told.status, 200, told.text);
    const steps = told.events.map((event) => event.loaded);
    assert.ok(steps.length >= LEAST_EVENTS, `the browser told of ${steps.length} steps: ${steps}`);
    assert.ok(told.events.every((event) => event.total === told.size), 'a step has another total');
    assert.deepEqual(steps, [...steps].sort((one, other) => one - other));
    assert.ok(steps[0] < told.size, 'the first step is the last');
    assert.equal(steps.at(-1), told.size);
    const info = JSON.parse(told.text);
    assert.deepEqual([info.digest, info.size, info.width, info.height], [told.digest, told.size, SIDE, SIDE]);
    return told;
  });

  await step('the picture comes back whole, and the page shows it', async () => {
    const found = await page.evaluate(readPicture, `${shop}/products/tea/picture`);
    assert.deepEqual(found, { digest: sent.digest, width: SIDE, height: SIDE });
  });

  await step('a form of the browser sends the picture as a file', async () => {
    const told = await page.evaluate(sendForm, {
      from: `${shop}/products/tea/picture`,
      to: `${shop}/products/cup/picture`,
      name: 'tasse "é" 100%.png',
    });
    assert.equal(told.status, 200, told.text);
    assert.equal(JSON.parse(told.text).digest, sent.digest);
  });

  await step('an export is saved under its name', async () => {
    const customer = 'Zoë & Co';
    assert.equal((await place(customer, 'second')).status, 201);
    const url = `${shop}/orders.csv?customer=${encodeURIComponent(customer)}`;
    const [download] = await Promise.all([page.waitForEvent('download'), page.evaluate(follow, url)]);
    assert.equal(download.suggestedFilename(), `orders-${customer}.csv`);
    const text = await readFile(await download.path(), 'utf8');
    assert.ok(text.startsWith('order,created_at,') && text.endsWith(',paid,1,tea,2,450,EUR\r\n'), text);
    assert.equal(text, (await send(`/orders.csv?customer=${encodeURIComponent(customer)}`)).text);
  });

  await step('cookies go along if the page says so', async () => {
    const headers = { 'X-Api-Key': '7' };
    const begun = await send('/session?text=s-1', { method: 'POST', credentials: 'include', headers });
    assert.equal(begun.status, 200, JSON.stringify(begun));
    const known = await send('/session', { credentials: 'include', headers });
    assert.deepEqual([known.status, JSON.parse(known.text)], [200, '"s-1" Some(7) [] None'], JSON.stringify(known));
    const before = seen.errors.length;
    const unknown = await send('/session', { credentials: 'omit', headers });
    assert.equal(unknown.status, 400, JSON.stringify(unknown));
    assert.equal(seen.errors.splice(before).length, 1);
    assert.equal(await page.evaluate(() => document.cookie), '');
  });

  await step('a page reads why a middleware refuses it', async () => {
    const before = seen.errors.length;
    const refused = await send('/web/hello', { headers: { 'X-Middleware': 'deny' } });
    assert.deepEqual([refused.status, refused.text], [401, 'denied'], JSON.stringify(refused));
    assert.equal(seen.errors.splice(before).length, 1);
    // The preflight reached no middleware: it had no key.
    assert.deepEqual((await preflights(seen, '/web/hello')).map((one) => one.status), [204]);
    assert.equal((await send('/web/hello')).text, 'hello');
  });

  await step('a page follows the events of a mounted module', async () => {
    const found = await page.evaluate(followEvents, { url: `${shop}/web/events?millis=20`, count: 5 });
    assert.deepEqual(found, ['0', '1', '2', '3', '4']);
  });

  await step('a method that the rule leaves out is not sent', async () => {
    const before = seen.errors.length;
    const removed = await send('/products/tea/picture', { method: 'DELETE' });
    assert.match(removed.fault, /Failed to fetch/);
    assert.match(seen.errors.splice(before).join('\n'), /Method DELETE is not allowed/);
    assert.equal((await send('/products/tea/picture/info')).status, 200);
  });

  await step('the console has no other error', () => {
    assert.deepEqual([seen.errors, seen.violations], [[], []]);
    assert.deepEqual(seen.origins(), [shop, new URL(allowed).origin].sort());
  });

  await step('a page of an origin that is not allowed reads and sends nothing', async () => {
    const other = await openPage(browser, stranger);
    const tell = (path, init = {}) => other.page.evaluate(ask, { url: shop + path, ...init });
    const placed = await tell('/orders', { method: 'POST', json: draft('eve') });
    const read = await tell(order.location);
    assert.deepEqual([placed.fault, read.fault], ['TypeError: Failed to fetch', 'TypeError: Failed to fetch']);
    assert.deepEqual((await preflights(other, '/orders')).map((one) => one.status), [204]);
    assert.equal(other.errors.filter((text) => text.includes('blocked by CORS policy')).length, 2, other.errors.join('\n'));
    // What this folder gathers of pages is gathered: the policy of the page forbids this.
    await other.page.evaluate(breakPolicy, 'http://localhost:1/');
    assert.deepEqual(other.violations, [{ directive: 'connect-src', blocked: 'http://localhost:1/' }]);
  });

  return { order: order.id, digest: sent.digest };
});

/** Runs in the page: asks for a URL that the page's policy forbids, and waits until the browser has told of it. */
function breakPolicy(url) {
  const told = new Promise((resolve) => document.addEventListener('securitypolicyviolation', () => resolve(), { once: true }));
  return fetch(url).catch(() => told);
}

/** Runs in the page: draws a picture, and sends it by XMLHttpRequest. */
async function uploadPicture({ url, side }) {
  const canvas = Object.assign(document.createElement('canvas'), { width: side, height: side });
  const context = canvas.getContext('2d', { alpha: false });
  const image = context.createImageData(side, side);
  // One call gives at most 64 KiB.
  for (let at = 0; at < image.data.length; at += 65536) crypto.getRandomValues(image.data.subarray(at, at + 65536));
  for (let at = 3; at < image.data.length; at += 4) image.data[at] = 255;
  context.putImageData(image, 0, 0);
  const picture = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  const hash = await crypto.subtle.digest('SHA-256', await picture.arrayBuffer());
  const digest = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const events = [];
  const request = new XMLHttpRequest();
  request.open('PUT', url);
  request.setRequestHeader('Content-Type', 'image/png');
  request.upload.addEventListener('progress', ({ loaded, total }) => events.push({ loaded, total }));
  await new Promise((resolve) => {
    request.addEventListener('loadend', resolve);
    request.send(picture);
  });
  return { status: request.status, text: request.responseText, size: picture.size, digest, events };
}

/** Runs in the page: reads a picture by a script, and shows it. */
async function readPicture(url) {
  const bytes = await (await fetch(url)).arrayBuffer();
  const hash = await crypto.subtle.digest('SHA-256', bytes);
  const digest = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const image = Object.assign(new Image(), { crossOrigin: 'anonymous', src: url });
  document.body.append(image);
  await image.decode();
  return { digest, width: image.naturalWidth, height: image.naturalHeight };
}

/** Runs in the page: sends the picture at one URL to another as a form with a file. */
async function sendForm({ from, to, name }) {
  const picture = await (await fetch(from)).blob();
  const form = new FormData();
  form.append('picture', new File([picture], name, { type: 'image/png' }));
  const answer = await fetch(to, { method: 'POST', body: form });
  return { status: answer.status, text: await answer.text() };
}

/** Runs in the page: follows a stream of events, and returns the first ones. */
function followEvents({ url, count }) {
  const source = new EventSource(url);
  const found = [];
  return new Promise((resolve, reject) => {
    source.addEventListener('error', () => reject(new Error(`the stream ends after ${found}`)));
    source.addEventListener('message', ({ data }) => found.push(data) === count && resolve(found));
  }).finally(() => source.close());
}

/** Runs in the page: follows a link, as a click does. */
function follow(url) {
  const link = Object.assign(document.createElement('a'), { href: url, textContent: 'orders' });
  document.body.append(link);
  link.click();
}
