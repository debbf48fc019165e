// What an operator does on the page of the OpenAPI document. Each step says what must hold.

import assert from 'node:assert/strict';
import { drive, facts, openPage } from './browser.js';

const { admin, listen, token } = facts;

/** The number of operations that the document has at least. */
const LEAST_OPERATIONS = 15;

await drive(async (browser, step) => {
  const seen = await step('the page opens without a token', () => openPage(browser, `${admin}/openapi`));
  const { page } = seen;
  const state = page.locator('#state');
  const open = async (text) => {
    await page.fill('#token', text);
    await page.click('#load');
  };

  await step('a wrong token shows why nothing is loaded', async () => {
    await open('wrong');
    await page.waitForFunction(() => document.getElementById('state').textContent.includes('admin token'));
    assert.equal(await page.locator('.opblock').count(), 0);
    // The browser reports the refusal itself.
    assert.equal(seen.errors.splice(0).filter((text) => text.includes('401')).length, 1);
  });

  await step('the operations are listed', async () => {
    await open(token);
    await page.locator('.opblock').first().waitFor();
    assert.match(await state.textContent(), /^Version [0-9a-f]{12}\./);
    assert.equal(await page.title(), 'shop: OpenAPI');
    const operations = await page.locator('.opblock').count();
    assert.ok(operations >= LEAST_OPERATIONS, `${operations} operations`);
  });

  /** Opens an operation, and returns its part of the page. */
  const operation = async (method, path) => {
    const block = page.locator(`.opblock-${method}`).filter({ has: page.locator(`[data-path="${path}"]`) });
    await block.locator('.opblock-summary-control').click();
    await block.locator('button.execute').waitFor();
    return block;
  };
  /** Sends the request of an operation, and returns the status and the text of the answer. */
  const execute = async (block) => {
    await block.locator('button.execute').click();
    const answer = block.locator('.live-responses-table .response');
    await answer.waitFor();
    const status = (await answer.locator('.response-col_status').textContent()).trim();
    return { status, text: await answer.textContent(), curl: await block.locator('.curl').textContent() };
  };

  const id = await step('an order is placed', async () => {
    const block = await operation('post', '/orders');
    const price = { currency: 'EUR', minor: 450 };
    const draft = { customer: 'page', lines: [{ sku: 'tea', quantity: 2, unit_price: price }], payment: { card: 'tok_visa' } };
    await block.locator('textarea.body-param__text').fill(JSON.stringify(draft));
    const { status, text, curl } = await execute(block);
    assert.ok(status.startsWith('201'), text);
    // The headers are those of the data listener, and so is the address.
    assert.match(text, /location: \/orders\//);
    assert.match(text, /watertight-generation: 1/);
    assert.ok(curl.includes(`${listen}/orders`) && !curl.includes(token) && !curl.includes('try-'), curl);
    assert.equal(await state.textContent(), 'Generation 1 answered the last try.');
    return text.match(/location: \/orders\/(\w+)/)[1];
  });

  await step('the order is read', async () => {
    const block = await operation('get', '/orders/{id}');
    await block.locator('input[placeholder="id"]').fill(id);
    const { status, text } = await execute(block);
    assert.ok(status.startsWith('200') && text.includes(id), text);
    await seen.picture('openapi.png');
  });

  await step('a parameter cannot lead to another path of the listener', async () => {
    const block = page.locator('.opblock-get').filter({ has: page.locator('[data-path="/orders/{id}"]') });
    await block.locator('input[placeholder="id"]').fill('../../log');
    await block.locator('button.execute').click();
    await block.locator('.live-responses-table .response-col_status').filter({ hasText: '404' }).waitFor();
  });

  await step('a reload forgets the token', async () => {
    const stored = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
    assert.deepEqual(stored, [0, 0, '']);
    await page.reload();
    assert.equal(await page.inputValue('#token'), '');
    assert.equal(await page.locator('.opblock').count(), 0);
  });

  await step('the page asks its own origin only, and breaks no rule of its policy', async () => {
    await seen.settled();
    assert.deepEqual(seen.origins(), [admin]);
    assert.deepEqual(seen.violations, []);
    const unexpected = seen.errors.filter((text) => !text.includes('404'));
    assert.deepEqual(unexpected, []);
  });
  return { order: id };
});
