// Makes a component of a JavaScript module: bundles the module's files with the shim, and embeds the bundle into a JavaScript engine.
//
// `watertight build` runs this script with Node.js, from a folder that holds the script's imports. The argument is the path of a JSON file
// with the fields `folder`, `main`, `wit`, `world`, `contract`, `bundle` and `output` (the paths to write the bundle
// and the component to), and `bindings` (the folder for generated types if the module is TypeScript, or null).

import { readFile, realpath, writeFile } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decode } from '@jridgewell/sourcemap-codec';
import { componentize } from '@bytecodealliance/componentize-js';
import { build, transform } from 'esbuild';
import oxc from 'oxc-parser';
import { framesOf } from './places.mjs';
import { checkTypes, writeTypes } from './types.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const job = JSON.parse(await readFile(process.argv[2], 'utf8'));
const { contract } = job;
const folder = await realpath(job.folder);

/** An error whose message is for the author. It is printed without a stack trace of this script. */
class AuthorError extends Error {}

/** Returns a file's path for messages, relative to the module's folder. */
const short = (path) => (isAbsolute(path) ? relative(folder, path) : path);

const TYPESCRIPT = /\.[mc]?tsx?$/;
const NO_TYPESCRIPT =
  'TypeScript is not JavaScript: give its files names that end in `.ts`, and name such a file as `main` in package.json';

/** The indices of the world's imports, by the names that code may use. */
const imports = new Map();
contract.imports.forEach((item, index) => {
  imports.set(item.name, index);
  // The name without its version works, too, if it is unambiguous.
  const bare = item.name.replace(/@.*$/, '');
  if (bare !== item.name) imports.set(bare, imports.has(bare) ? undefined : index);
});

const engine = (name) => ({ path: `engine:${name}`, external: true });

/** Returns the code of a module that exports an interface which the world imports. */
function importModule(index) {
  const item = contract.imports[index];
  const from = JSON.stringify(`engine:${item.name}`);
  if (item.functions.length === 1 && item.functions[0].root) {
    return `import raw from ${from};\nimport { importFunction } from 'watertight:shim';\nexport default importFunction(${index}, raw);\n`;
  }
  const functions = item.functions.filter((one) => one.kind === 'function').map((one) => one.js);
  const names = [...functions, ...item.resources.map((resource) => resource.js)];
  const lines = [
    `import * as raw from ${from};`,
    "import { importInterface } from 'watertight:shim';",
    `const it = importInterface(${index}, raw);`,
    ...names.map((name, number) => `const it_${number} = it[${JSON.stringify(name)}]; export { it_${number} as ${name} };`),
    'export default it;',
  ];
  return lines.join('\n');
}

/** Returns the code of a module that exports the host's interfaces for the shim. */
function hostModule() {
  const { random, wallClock, monotonicClock, failure } = contract.host;
  const has = Object.entries({ random, wallClock, monotonicClock, failure }).filter(([, name]) => name);
  const from = has.map(([name, interface_]) => `import * as ${name} from ${JSON.stringify(`engine:${interface_}`)};`);
  return `${from.join('\n')}\nexport const host = { ${has.map(([name]) => name).join(', ')} };\n`;
}

/** Returns the entry module of the bundle. It loads the shim first, so that the shim is in place when the module's code runs. */
function entryModule() {
  const exports = contract.exports.map((item, index) => {
    return `const item_${index} = exportItem(${index}, author); export { item_${index} as ${JSON.stringify(item.export)} };`;
  });
  const main = JSON.stringify(join(folder, job.main));
  return `import { exportItem } from 'watertight:shim';\nimport * as author from ${main};\n${exports.join('\n')}\n`;
}

const watertight = {
  name: 'watertight',
  setup(build) {
    build.onResolve({ filter: /^engine:/ }, ({ path }) => engine(path.slice('engine:'.length)));
    build.onResolve({ filter: /^watertight:(shim|host|entry)$/ }, ({ path }) => {
      const part = path.slice('watertight:'.length);
      return part === 'shim' ? { path: join(here, 'shim.mjs') } : { path: part, namespace: 'made' };
    });
    build.onLoad({ filter: /.*/, namespace: 'made' }, ({ path }) => ({
      contents: path === 'host' ? hostModule() : entryModule(),
      resolveDir: folder,
    }));
    build.onLoad({ filter: /.*/, namespace: 'world' }, ({ path }) => ({
      contents: importModule(imports.get(path)),
      resolveDir: folder,
    }));
    build.onResolve({ filter: /.*/ }, ({ path, namespace, pluginData }) => {
      if (namespace !== 'file' && namespace !== 'made' && namespace !== 'world') return undefined;
      if (pluginData === watertight) return undefined;
      if (imports.get(path) !== undefined) return { path, namespace: 'world' };
      if (/^[a-z][a-z0-9-]*:[a-z]/i.test(path) && !path.startsWith('node:') && !path.startsWith('data:')) {
        const known = contract.imports.map((item) => `\`${item.name}\``).join(', ') || 'nothing';
        return { errors: [{ text: `the module's world does not import \`${path}\`; it imports ${known}` }] };
      }
      if (/^node:/.test(path)) {
        return { errors: [{ text: `\`${path}\` is a part of Node.js, which a component does not have` }] };
      }
      return undefined;
    });
    build.onLoad({ filter: /\.[mc]?[jt]sx?$/, namespace: 'file' }, async ({ path }) => {
      if (path.startsWith(here) || path.includes('/node_modules/')) return undefined;
      const language = TYPESCRIPT.test(path) ? (path.endsWith('x') ? 'tsx' : 'ts') : 'js';
      if (language !== 'js' && !job.bindings) {
        return { errors: [{ text: NO_TYPESCRIPT, location: { file: path, line: 1, column: 0 } }] };
      }
      return { contents: withPlaces(short(path), await readFile(path, 'utf8'), language), loader: language };
    });
  },
};

/** Rewrites `throw` statements so that they record their position. The engine keeps no stack for a thrown value that is not an error. */
function withPlaces(file, code, lang) {
  let program;
  try {
    const parsed = oxc.parseSync(file, code, { lang, sourceType: 'unambiguous' });
    if (parsed.errors.length > 0) return code;
    program = parsed.program;
  } catch {
    // The bundler reports the syntax error with its position.
    return code;
  }
  const throws = [];
  const walk = (node) => {
    if (Array.isArray(node)) node.forEach(walk);
    else if (typeof node === 'object' && node !== null && typeof node.type === 'string') {
      if (node.type === 'ThrowStatement') throws.push(node.argument);
      for (const key of Object.keys(node)) if (key !== 'type') walk(node[key]);
    }
  };
  walk(program);
  throws.sort((one, other) => other.start - one.start);
  // Edits go from the end of the code to its start, so that none of them moves the position of a later one.
  const edits = throws.flatMap(({ start, end }) => [
    { at: start, text: '__thrown((', order: 1 },
    { at: end, text: `), ${JSON.stringify(`${file}:${lineOf(code, start)}`)})`, order: 0 },
  ]);
  edits.sort((one, other) => other.at - one.at || other.order - one.order);
  let out = code;
  for (const { at, text } of edits) out = out.slice(0, at) + text + out.slice(at);
  return out;
}

const lineOf = (code, offset) => code.slice(0, offset).split('\n').length;

/** Formats the bundler's errors as `file:line:column: message`, each with its source line. */
async function bundleErrors(errors) {
  const told = await Promise.all(
    errors.map(async ({ text, location }) => {
      const at = location ? `${short(location.file)}:${location.line}:${location.column + 1}: ` : '';
      const line = location?.lineText ? `\n    ${location.lineText.slice(0, 200)}` : '';
      return `${at}${await betterWords(text, location)}${line}`;
    }),
  );
  return new AuthorError(told.join('\n'));
}

async function betterWords(text, location) {
  const unresolved = /^Could not resolve "(.*)"$/.exec(text);
  if (unresolved) return unresolvedWords(unresolved[1]);
  if (!location || /^(TypeScript|the module's world|`node:)/.test(text)) return text;
  const path = isAbsolute(location.file) ? location.file : join(folder, location.file);
  if (TYPESCRIPT.test(path)) return `SyntaxError: ${text}`;
  const isTypeScript = await readFile(path, 'utf8')
    .then((code) => transform(code, { loader: 'ts', logLevel: 'silent' }))
    .then(() => true, () => false);
  return isTypeScript ? NO_TYPESCRIPT : `SyntaxError: ${text}`;
}

function unresolvedWords(name) {
  if (/^[./]/.test(name)) return `there is no file \`${name}\``;
  const isListed = Object.hasOwn(job.dependencies, packageOf(name));
  const command = isListed ? 'npm install --ignore-scripts' : `npm install --ignore-scripts ${packageOf(name)}`;
  return `the package \`${packageOf(name)}\` is not in \`node_modules\`: run \`${command}\` in ${folder}`;
}

const packageOf = (name) => name.split('/', name.startsWith('@') ? 2 : 1).join('/');

/** Bundles the module. Returns the code, preceded by the map of its lines. */
async function bundle() {
  let built;
  try {
    built = await build({
      entryPoints: ['watertight:entry'],
      absWorkingDir: folder,
      outfile: job.bundle,
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      target: 'es2022',
      charset: 'utf8',
      sourcemap: 'external',
      sourcesContent: false,
      legalComments: 'none',
      logLevel: 'silent',
      plugins: [watertight],
    });
  } catch (error) {
    if (!Array.isArray(error?.errors)) throw error;
    throw await bundleErrors(error.errors);
  }
  const [map, code] = built.outputFiles.sort((one) => (one.path.endsWith('.map') ? -1 : 1)).map((file) => file.text);
  const places = { bundle: basename(job.bundle), ...linesOf(JSON.parse(map), code.split('\n')) };
  const { types, imports, exports, main } = contract;
  const known = JSON.stringify({ contract: { types, imports, exports, main }, map: places });
  return { places, code: `const __watertight = ${known};\n${code.replace(/(from\s*")engine:/g, '$1')}` };
}

/** Returns the runs of lines in a bundle that come from the author's files or packages. */
function linesOf({ mappings, sources }, text) {
  const files = [];
  const numbers = sources.map((source) => {
    // The namespaces `made:` and `world:` hold generated modules.
    const path = join(dirname(job.bundle), source);
    if (/^(made|world):/.test(source) || path.startsWith(here)) return -1;
    return files.push(short(path)) - 1;
  });
  const lines = [];
  decode(mappings).forEach((segments, index) => {
    // The map of lines precedes the bundle on a line of its own, and line numbers start at 1.
    const line = index + 2;
    // The source map repeats the last segment of a line at the start of the next line. The segment where the code begins is the right one.
    const begin = text[index].search(/\S/);
    const mapped = segments.filter((one) => one.length >= 4);
    const segment = mapped.find(([column]) => column >= begin) ?? mapped.at(-1);
    if (!segment) return;
    const [file, original] = [numbers[segment[1]], segment[2] + 1];
    const last = lines.at(-1);
    if (last && last[1] === file && (file < 0 || last[2] - last[0] === original - line)) return;
    lines.push([line, file, original]);
  });
  return { files, lines };
}

const ENGINE = new URL('lib/', import.meta.resolve('@bytecodealliance/componentize-js').replace(/src\/[^/]*$/, ''));
const { splicer } = await import(new URL('spidermonkey-embedding-splicer.js', ENGINE));

/**
 * Corrects the conversion of numbers that pass between JavaScript and WebAssembly individually, as arguments or as a function's only
 * result. The engine accepts 64-bit integers only as unsigned ones, fails on negative ones, and misreads 32-bit integers from 2^31
 * on. The corrected bindings pass the number with the same bits. The payload of a variant arrives as 64 bits, of which narrower cases use
 * the lower half.
 */
const spliceBindings = splicer.spliceBindings;
splicer.spliceBindings = (...args) => {
  const spliced = spliceBindings(...args);
  spliced.jsBindings = [
    { where: 'function toInt64(', from: /(function toInt64\(val\) \{[^}]*)BigInt\.asIntN/, to: '$1BigInt.asUintN' },
    { where: 'function toUint32(', from: /(function toUint32\(val\) \{[^}]*)val >>> 0/, to: '$1val | 0' },
    { where: 'BigInt(', from: /(^let \[[^\]]*\] = \$bindings);/m, to: '$1.map(unsigned);' },
    { where: 'Number(arg', from: /\bNumber\((arg\d+)\)/g, to: 'Number(BigInt.asIntN(32, $1))' },
  ].reduce(edited, spliced.jsBindings);
  if (spliced.jsBindings.includes('.map(unsigned)')) spliced.jsBindings = UNSIGNED + spliced.jsBindings;
  return spliced;
};

/** Code that wraps each function of the engine to make its 64-bit arguments unsigned. The engine's memory is not wrapped. */
const UNSIGNED = `const unsigned = (core) => typeof core !== 'function' ? core : (...args) => {
  for (let index = 0; index < args.length; index++) {
    if (typeof args[index] === 'bigint') args[index] = BigInt.asUintN(64, args[index]);
  }
  return core(...args);
};
`;

function edited(bindings, { where, from, to }) {
  if (!bindings.includes(where)) return bindings;
  const made = bindings.replace(from, to);
  if (made === bindings) throw new Error(`this componentize-js makes bindings that the host was not made for: ${where}`);
  return made;
}

/** Formats an error of the module's top level: the engine's message, and the stack in the author's files. */
function topLevelWords(message, places) {
  const text = message.replace(/^Failed to initialize component \(.*\):\n/, '');
  const stack = framesOf(places, text.replace(/^ +/gm, '')).map((frame) => `    at ${frame}`);
  const top = /^Exception while evaluating top-level script\n([^]*?)(?:\nAdditionally, [^]*)?$/.exec(text.replace(/\nStack:\n[^]*$/, ''));
  if (!top) return text.trim();
  const words = top[1].replace(new RegExp(`^${RegExp.escape?.(places.bundle) ?? places.bundle}:\\d+:\\d+ `, 'gm'), '').trim();
  // An error without frames in the author's files comes from the shim.
  return stack.length > 0 ? [words, ...stack].join('\n') : words.replace(/^Error: /, '');
}

async function run() {
  if (job.bindings) {
    await writeTypes(job);
    const wrong = await checkTypes(job, folder);
    if (wrong) throw new AuthorError(wrong);
  }
  const { code, places } = await bundle();
  await writeFile(job.bundle, code);
  process.chdir(dirname(job.bundle));
  let made;
  try {
    made = await componentize({
      sourcePath: job.bundle,
      witPath: job.wit,
      worldName: job.world,
      // These features bypass the world's imports. A module may use only what its world imports and the manifest grants.
      disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
    });
  } catch (error) {
    throw new AuthorError(topLevelWords(String(error?.message ?? error), places));
  }
  await writeFile(job.output, made.component);
}

try {
  await run();
} catch (error) {
  console.error(error instanceof AuthorError ? error.message : (error?.stack ?? error));
  process.exitCode = 1;
}
