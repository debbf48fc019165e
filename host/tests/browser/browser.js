// Drives Chromium for the tests in this folder: named steps with bounds, and pages whose faults and requests are gathered.
//
// The driver is playwright-core: one package without dependencies, from the makers of Chromium's other drivers, which waits for events
// instead of sleeping and hands over downloads. The Rust crates that speak Chromium's protocol would add dozens of crates to the lock file,
// and puppeteer-core needs 40 packages for the same.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

/** The time for Chromium's start, in milliseconds. */
const START_TIME = 60_000;
/** The time for one step, in milliseconds. */
const STEP_TIME = 30_000;
/** The time for a whole script, in milliseconds. */
const SCRIPT_TIME = 240_000;
/** The programs that will do, in this order. */
const PROGRAMS = ['chromium', 'google-chrome'];
/** The function by which a page reports what its content security policy forbade. */
const REPORT = 'reportViolation';

/** What the test in Rust tells the script. `folder` is the folder for files. */
export const facts = JSON.parse(process.argv[2]);

function program() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = PROGRAMS.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`Chromium is missing: run \`make tools-test\`, or install the package chromium`);
  return found;
}

function launch() {
  return chromium.launch({
    executablePath: program(),
    // Chromium's sandbox refuses to run as root.
    chromiumSandbox: process.getuid() !== 0,
    // Nothing but this machine is reached, whatever Chromium or a page asks for.
    args: ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1'],
    timeout: START_TIME,
  });
}

/** Rejects with these words if `work` takes longer than `time`. */
function within(time, words, work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${words} takes longer than ${time} ms`)), time);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Prints one line of the report. */
function print(line) {
  console.log(JSON.stringify(line));
}

/**
 * Runs a script: `script(browser, step)` gets Chromium and the function for steps, `step(name, work)`, which returns what `work` returns.
 * What the script returns is handed to the test. The first step that fails ends the script.
 */
export async function drive(script) {
  const end = setTimeout(() => {
    print({ fault: `the script takes longer than ${SCRIPT_TIME} ms` });
    process.exit(1);
  }, SCRIPT_TIME);
  let current = 'start of Chromium';
  const step = async (name, work) => {
    current = name;
    const start = performance.now();
    const result = await within(STEP_TIME, `the step`, work());
    print({ step: name, millis: Math.round(performance.now() - start) });
    return result;
  };
  let browser;
  try {
    browser = await launch();
    print({ report: (await script(browser, step)) ?? null });
  } catch (fault) {
    print({ step: current, fault: String(fault?.stack ?? fault) });
    process.exitCode = 1;
  }
  await browser?.close();
  clearTimeout(end);
}

/**
 * Opens a page in a context of its own, with its own cookies and cache. Returns the page with what is gathered of it from the start:
 *
 * - `errors`: the errors in the console, and exceptions that nothing caught, as texts;
 * - `violations`: what the content security policy forbade, as `{ directive, blocked }`;
 * - `origins()`: the origins of all requests, of the page's own too;
 * - `requests`: all requests as `{ method, url, type, status, encoding }`. `type` is `Preflight` for a preflight. `status` is that of the network:
 *   304 where a script sees 200 from the cache, and null where no answer came;
 * - `settled()`: waits until the answer of each request is known. Chromium tells of it a moment after the page has it;
 * - `network`: the session of Chromium's protocol;
 * - `picture(name)`: writes a picture of the page, a PNG, into the folder for files.
 */
export async function openPage(browser, url) {
  const context = await browser.newContext({ acceptDownloads: true });
  context.setDefaultTimeout(STEP_TIME);
  const page = await context.newPage();
  const [errors, violations, requests, byId] = [[], [], [], new Map()];
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.exposeFunction(REPORT, (violation) => violations.push(violation));
  await page.addInitScript((report) => {
    document.addEventListener('securitypolicyviolation', (event) => {
      globalThis[report]({ directive: event.effectiveDirective, blocked: event.blockedURI });
    });
  }, REPORT);

  const network = await context.newCDPSession(page);
  // The statuses of the network, by request. Chromium tells of them in any order with the other events of a request.
  const statuses = new Map();
  let waiting = [];
  const settle = () => {
    if (requests.some((request) => !request.settled)) return;
    waiting.forEach((resume) => resume());
    waiting = [];
  };
  const on = (event, change) => {
    network.on(`Network.${event}`, (told) => {
      change(told, byId.get(told.requestId));
      settle();
    });
  };
  on('requestWillBeSent', ({ requestId, request: { method, url }, type, initiator }) => {
    const kind = initiator.type === 'preflight' ? 'Preflight' : type;
    const status = statuses.get(requestId) ?? null;
    const request = { method, url, type: kind, status, encoding: null, settled: status !== null };
    requests.push(request);
    byId.set(requestId, request);
  });
  on('responseReceivedExtraInfo', ({ requestId, statusCode }, request) => {
    statuses.set(requestId, statusCode);
    if (request !== undefined) Object.assign(request, { status: statusCode, settled: true });
  });
  on('responseReceived', ({ response, hasExtraInfo }, request) => {
    if (request === undefined) return;
    if (!hasExtraInfo) request.status = response.status;
    request.encoding = response.headers['content-encoding'] ?? null;
    request.settled = request.status !== null;
  });
  on('loadingFailed', (_, request) => {
    if (request !== undefined) request.settled = true;
  });
  const settled = () => new Promise((resume) => {
    waiting.push(resume);
    settle();
  });
  await network.send('Network.enable');

  await page.goto(url);
  const origins = () => {
    const remote = requests.filter((request) => /^(http|ws)s?:/.test(request.url));
    return [...new Set(remote.map((request) => new URL(request.url).origin))].sort();
  };
  const picture = (name) => page.screenshot({ path: join(facts.folder, name), fullPage: true });
  return { page, errors, violations, requests, settled, origins, network, picture };
}
