// The code that `watertight build` puts between a JavaScript module and its engine. It runs before the module's own code.
//
// The shim checks values in both directions and keeps them exact. It takes time and randomness from the interfaces that the world imports,
// and throws without them, because an instance must not reuse those of its snapshot. It reports unexpected errors with their source lines.

import { host } from 'watertight:host';
import { framesOf } from './places.mjs';
import { Values, isError } from './values.mjs';

const { contract, map } = __watertight;
const values = new Values(contract.types);

/** Whether a call has begun. Until then the code runs for the snapshot from which every instance starts. */
let isCalled = false;

// ---------------------------------------------------------------------------------------------------------------------------------------
// Time and randomness.

/** Throws if no call has begun, because the snapshot would fix the value for all instances, or if the world lacks the import. */
function need(what, source, grant) {
  if (!isCalled) {
    throw new Error(
      `${what} at the top level of a module would give the same in every instance: call it in a function that a request calls`,
    );
  }
  if (source) return source;
  throw new Error(
    `${what} needs ${grant.interface}: import it in the module's world, and grant it by uses = ["${grant.uses}"] in the manifest`,
  );
}

const RANDOM = { interface: 'wasi:random/random', uses: 'random' };
const CLOCK = { interface: 'wasi:clocks/wall-clock', uses: 'clocks' };

/** The most bytes that one call of `getRandomValues` returns, by the Web Cryptography API. */
const MAX_RANDOM = 65536;

function randomBytes(what, length) {
  return need(what, host.random, RANDOM).getRandomBytes(BigInt(length));
}

/** Returns the milliseconds since 1970, with a fraction. */
function wallMillis(what) {
  const { seconds, nanoseconds } = need(what, host.wallClock, CLOCK).now();
  return Number(BigInt.asUintN(64, seconds)) * 1000 + nanoseconds / 1e6;
}

const replace = (object, name, value) =>
  Object.defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true });

replace(Math, 'random', function random() {
  const bits = need('Math.random()', host.random, RANDOM).getRandomU64();
  return Number(BigInt.asUintN(64, bits) >> 11n) / 2 ** 53;
});

if (globalThis.crypto) {
  replace(crypto, 'getRandomValues', function getRandomValues(array) {
    if (!ArrayBuffer.isView(array) || array instanceof DataView || /^Float/.test(array[Symbol.toStringTag])) {
      throw new TypeError('crypto.getRandomValues() fills an array of integers');
    }
    if (array.byteLength > MAX_RANDOM) {
      throw new RangeError(`crypto.getRandomValues() gives at most ${MAX_RANDOM} bytes at once, not ${array.byteLength}`);
    }
    const bytes = randomBytes('crypto.getRandomValues()', array.byteLength);
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(bytes);
    return array;
  });
  replace(crypto, 'randomUUID', function randomUUID() {
    const bytes = randomBytes('crypto.randomUUID()', 16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  });
  guardSubtle(crypto.subtle);
}

/** Disables functions for which the engine takes random bytes from its snapshot, so that every instance would get the same ones. */
function guardSubtle(subtle) {
  if (!subtle) return;
  const refuse = (name) => {
    throw new Error(`crypto.subtle.${name} needs random bytes of the engine's own, which repeat: it can't be used here`);
  };
  for (const name of ['generateKey', 'encrypt', 'wrapKey']) {
    if (typeof subtle[name] === 'function') replace(subtle, name, async () => refuse(`${name}()`));
  }
  const { sign } = subtle;
  if (typeof sign !== 'function') return;
  replace(subtle, 'sign', async function (algorithm, ...rest) {
    const name = String(algorithm?.name ?? algorithm).toUpperCase();
    if (name === 'ECDSA' || name === 'RSA-PSS') refuse(`sign() with ${name}`);
    return sign.call(subtle, algorithm, ...rest);
  });
}

const EngineDate = Date;

function ModuleDate(...parts) {
  if (!new.target) return new ModuleDate().toString();
  const given = parts.length > 0 ? parts : [Math.floor(wallMillis('new Date()'))];
  return Reflect.construct(EngineDate, given, new.target);
}
Object.defineProperties(ModuleDate, {
  name: { value: 'Date', configurable: true },
  length: { value: 7, configurable: true },
  prototype: { value: EngineDate.prototype, writable: false },
});
replace(ModuleDate, 'now', function now() {
  return Math.floor(wallMillis('Date.now()'));
});
replace(ModuleDate, 'parse', EngineDate.parse);
replace(ModuleDate, 'UTC', EngineDate.UTC);
replace(EngineDate.prototype, 'constructor', ModuleDate);
replace(globalThis, 'Date', ModuleDate);

/** The start of `performance.now()`: the time when the instance first read the clock. */
let origin;

function elapsed(what) {
  const now = host.monotonicClock
    ? Number(BigInt.asUintN(64, need(what, host.monotonicClock, CLOCK).now())) / 1e6
    : wallMillis(what);
  origin ??= { now, wall: host.wallClock ? wallMillis(what) : 0 };
  return now - origin.now;
}

replace(globalThis, 'performance', {
  now: () => elapsed('performance.now()'),
  get timeOrigin() {
    elapsed('performance.timeOrigin');
    return origin.wall;
  },
});

for (const name of ['setTimeout', 'setInterval']) {
  replace(globalThis, name, () => {
    throw new Error(`${name}() can't be used: a call runs to its end, and nothing runs after it`);
  });
}
for (const name of ['clearTimeout', 'clearInterval']) replace(globalThis, name, () => {});

// ---------------------------------------------------------------------------------------------------------------------------------------
// Error reports in the log.

/** The most UTF-16 units of a report, and the most causes in it. The host keeps the first 2 KiB. */
const MAX_REPORT = 2048;
/** The most UTF-16 units of an error's own message, so that its stack still fits. */
const MAX_MESSAGE = 1024;
const MAX_CAUSES = 4;

/** The last thrown value that is not an error, and its position. The engine keeps no stack for such values. */
let thrown = { value: undefined, place: null };

/** Records where a value is thrown, and returns the value. The build rewrites the author's `throw` statements to call this function. */
globalThis.__thrown = (value, place) => {
  if (!isError(value)) thrown = { value, place };
  return value;
};

function describe(error, depth = 0) {
  if (!isError(error)) {
    const place = thrown.place !== null && Object.is(thrown.value, error) ? ` at ${thrown.place}` : '';
    return `a value that is no Error was thrown: ${plain(error)}${place}`;
  }
  const payload = Object.hasOwn(error, 'payload') ? `, with the payload ${plain(error.payload)}` : '';
  const words = error.message ? `${error.name}: ${String(error.message).slice(0, MAX_MESSAGE)}` : String(error.name);
  const frames = framesOf(map, error.stack);
  const stack = frames.length > 0 ? ` at ${frames.join(' < ')}` : '';
  const more = [];
  if (depth < MAX_CAUSES) {
    if (error.cause !== undefined) more.push(`; caused by ${describe(error.cause, depth + 1)}`);
    if (Array.isArray(error.errors)) {
      more.push(...error.errors.slice(0, MAX_CAUSES).map((one) => `; one of: ${describe(one, depth + 1)}`));
    }
  }
  return `${words}${payload}${stack}${more.join('')}`;
}

function plain(value) {
  try {
    const text = JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `${part}n` : part));
    return (text ?? String(value)).slice(0, 400);
  } catch {
    return String(Object.prototype.toString.call(value));
  }
}

function report(where, error) {
  let text;
  try {
    text = `${where}: ${describe(error)}`;
  } catch (worse) {
    text = `${where}: an error that can't be told: ${worse}`;
  }
  host.failure.report(text.slice(0, MAX_REPORT), undefined);
}

// ---------------------------------------------------------------------------------------------------------------------------------------
// Functions.

/** An error that an imported function returned. */
class ImportError extends Error {
  constructor(label, payload) {
    super(typeof payload === 'string' ? payload : `${label} failed: ${plain(payload)}`);
    Object.defineProperty(this, 'payload', { value: payload, enumerable: true });
  }
}
replace(ImportError.prototype, 'name', 'Error');

/** Adds the position of a value to the error that says why the value doesn't fit. */
function placed(error, where) {
  if (error?.wanted !== undefined) error.path.unshift(where);
  return error;
}

/** Wraps a function that the module imports. */
function imported({ label, params, names, result }, call) {
  const checks = params.map((type) => values.out(type));
  const { isResult, ok, err } = parts(result);
  const mend = ok === null ? null : values.into(ok);
  const mendError = err === null ? null : values.into(err);
  return (self, given) => {
    const args = checks.map((check, index) => {
      try {
        return check(given[index]);
      } catch (error) {
        throw placed(error, `${label}(${names[index]})`);
      }
    });
    let value;
    try {
      value = call(self, args);
    } catch (error) {
      if (!isResult || !Object.hasOwn(Object(error), 'payload')) throw error;
      throw new ImportError(label, mendError ? mendError(error.payload) : error.payload);
    }
    return mend ? mend(value) : value;
  };
}

function parts(result) {
  const resolved = result === null ? null : values.resolve(result);
  if (resolved?.kind === 'result') return { isResult: true, ok: resolved.ok, err: resolved.err };
  return { isResult: false, ok: result, err: null };
}

/** Wraps a function that the module exports. */
function exported({ label, params, result }, call) {
  const mends = params.map((type) => values.into(type));
  const { isResult, ok, err } = parts(result);
  const check = ok === null ? null : values.out(ok);
  const checkError = err === null ? null : values.out(err);
  const resolved = ok === null ? null : values.resolve(ok);
  // A value of these types may have a `tag` of its own, so it can't be told from a returned result.
  const mayReturnResult = isResult && !['variant', 'record', 'result'].includes(resolved?.kind) && !resolved?.nested;

  const fail = (error) => {
    report(label, error);
    throw error;
  };
  const failed = (error) => {
    let hasPayload;
    let payload = error;
    try {
      hasPayload = Object.hasOwn(Object(error), 'payload');
      if (hasPayload) payload = error.payload;
    } catch (worse) {
      // A getter or a proxy threw.
      return fail(worse);
    }
    if (!isResult || (isError(error) && !hasPayload)) return fail(error);
    return refused(payload, error);
  };
  const refused = (payload, error) => {
    if (checkError === null) return { tag: 'err', val: undefined };
    try {
      return { tag: 'err', val: checkError(payload) };
    } catch (misfit) {
      const told = new TypeError(`what was thrown is not the contract's error: ${placed(misfit, 'payload').message}`);
      replace(told, 'stack', isError(error) ? error.stack : '');
      if (Object.is(thrown.value, error) && thrown.place !== null) told.message += ` at ${thrown.place}`;
      return fail(told);
    }
  };
  const finish = (value) => {
    let val = value;
    if (mayReturnResult && (value?.tag === 'ok' || value?.tag === 'err')) {
      if (value.tag === 'err') return refused(value.val, undefined);
      val = value.val;
    }
    try {
      val = check === null ? undefined : check(val);
    } catch (error) {
      return fail(placed(error, 'the result'));
    }
    return isResult ? { tag: 'ok', val } : val;
  };
  return (self, args) => {
    isCalled = true;
    let value;
    try {
      mends.forEach((mend, index) => {
        if (mend) args[index] = mend(args[index]);
      });
      value = call(self, args);
    } catch (error) {
      return failed(error);
    }
    if (typeof value === 'object' && value !== null && typeof value.then === 'function') {
      return Promise.resolve(value).then(finish, failed);
    }
    return finish(value);
  };
}

/** Returns an imported interface for the module's code. `raw` is the engine's object of that name. */
export function importInterface(index, raw) {
  const { functions, resources } = contract.imports[index];
  const made = {};
  for (const resource of resources) made[resource.js] = raw[resource.js];
  for (const one of functions) {
    const name = one.js;
    if (one.kind === 'function') {
      const call = imported(one, (_, args) => raw[name](...args));
      made[name] = (...args) => call(undefined, args);
      continue;
    }
    const owner = raw[one.resource];
    if (one.kind === 'constructor') {
      const call = imported(one, (target, args) => Reflect.construct(owner, args, target));
      made[one.resource] = new Proxy(owner, { construct: (_, args) => call(owner, args) });
    } else {
      const place = one.kind === 'method' ? owner.prototype : owner;
      const original = place[name];
      const call = imported(one, (self, args) => original.apply(self, args));
      replace(place, name, function (...args) {
        return call(this, args);
      });
    }
  }
  return made;
}

/** Returns a function that the world imports directly. */
export const importFunction = (index, raw) => importInterface(index, { [contract.imports[index].functions[0].js]: raw });

/** Returns the interface or function that the bindings look for, made from the module's exports. */
export function exportItem(index, author) {
  const item = contract.exports[index];
  if (item.function) {
    const name = item.function.js;
    const own = author[name];
    if (typeof own !== 'function') throw missing(`a function \`${name}\``, `export function ${name}() {}`);
    const call = exported(item.function, (_, args) => own(...args));
    return (...args) => call(undefined, args);
  }
  const found = item.names.find((name) => ['object', 'function'].includes(typeof author[name]) && author[name] !== null);
  if (found === undefined) {
    const name = item.names[0];
    const example = /^\w+$/.test(name) ? `export const ${name} = {};` : `const it = {};\n  export { it as '${name}' };`;
    throw missing(`a "${name}" interface`, example);
  }
  return exportInterface(item, found, author[found]);
}

function missing(what, example) {
  return new Error(`${contract.main} does not export ${what}, which the world has. Add it:\n  ${example}`);
}

function exportInterface(item, alias, own) {
  const made = {};
  const classes = new Map();
  for (const resource of item.resources) {
    const author = own[resource.js];
    if (typeof author !== 'function') throw missing(`a class \`${alias}.${resource.js}\``, `class ${resource.js} {}`);
    values.classes.set(resource.key, author);
    const face = function () {
      throw new TypeError(`the contract has no constructor for ${resource.js}`);
    };
    face.prototype = Object.create(author.prototype);
    Object.defineProperty(face, Symbol.hasInstance, { value: (value) => value instanceof author });
    classes.set(resource.js, { author, face });
    made[resource.js] = face;
  }
  for (const one of item.functions) {
    const name = one.js;
    if (one.kind === 'function') {
      if (typeof own[name] !== 'function') throw missing(`a function \`${alias}.${name}\``, `${name}() {}`);
      const call = exported(one, (_, args) => own[name](...args));
      made[name] = (...args) => call(undefined, args);
      continue;
    }
    const { author, face } = classes.get(one.resource);
    if (one.kind === 'constructor') {
      const call = exported(one, (_, args) => new author(...args));
      made[one.resource] = new Proxy(face, { construct: (_, args) => call(undefined, args) });
      continue;
    }
    const [place, from] = one.kind === 'method' ? [face.prototype, author.prototype] : [face, author];
    if (typeof from[name] !== 'function') {
      throw missing(`${one.kind === 'method' ? 'a method' : 'a static method'} \`${one.resource}.${name}\``, `${name}() {}`);
    }
    const call = exported(one, (self, args) => from[name].apply(self, args));
    replace(place, name, function (...args) {
      return call(one.kind === 'method' ? this : author, args);
    });
  }
  return made;
}
