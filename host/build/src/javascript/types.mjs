// Writes the types of a TypeScript module's world beside its code, and checks the code against them with TypeScript's own compiler.

import { spawn } from 'node:child_process';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const installed = (file) => new URL(file, import.meta.resolve('@bytecodealliance/jco').replace(/jco\/.*$/, ''));
const { $init, generateTypes } = await import(installed('jco/obj/js-component-bindgen-component.js'));

/** The options of the compiler for a module without a `tsconfig.json`. */
const DEFAULTS = {
  strict: true,
  target: 'es2022',
  lib: ['es2022', 'webworker'],
  module: 'esnext',
  moduleResolution: 'bundler',
  skipLibCheck: true,
};

/** Writes the types of the world and what checks a module against them. Removes files that an earlier world needed. */
export async function writeTypes({ bindings, contract, folder, main, wit, world }) {
  await $init;
  const options = { wit: { tag: 'path', val: wit }, world, guest: true, tlaCompat: false };
  const files = new Map(generateTypes('world', options).map(([name, bytes]) => [name, new TextDecoder().decode(bytes)]));
  files.set('check.ts', checkOf(contract, relative(bindings, join(folder, main))));
  files.set('tsconfig.json', await configOf(folder, [...files.keys()]));
  for (const [name, text] of files) await writeIfChanged(join(bindings, name), text);
  await removeOthers(bindings, '', files);
}

/** Returns code that compiles only if the module's file exports the world's interfaces with their types. */
function checkOf(contract, main) {
  const lines = [
    '// The interfaces of the world must be exported with their types. `watertight build` checks that.',
    `import * as main from ${JSON.stringify(main)};`,
    'type Given<Names extends string> = (typeof main)[Names & keyof typeof main];',
  ];
  contract.exports.forEach(({ functions, name, names, resources }, index) => {
    // A class of the module's own never has the type of a class whose constructor is private. The shim checks what the class has.
    if (functions.length === 0 || functions.some(({ root }) => root) || resources.length > 0) return;
    const given = names.map((one) => JSON.stringify(one)).join(' | ');
    lines.push(`export const check_${index}: typeof import(${JSON.stringify(name)}) = null! as Given<${given}>;`);
  });
  return `${lines.join('\n')}\n`;
}

/** Returns the compiler's configuration: the module's own, if it has one, but for the files that become part of the component. */
async function configOf(folder, files) {
  const own = await readFile(join(folder, 'tsconfig.json')).then(() => true, () => false);
  const config = {
    ...(own ? { extends: '../tsconfig.json' } : {}),
    compilerOptions: { ...(own ? {} : DEFAULTS), noEmit: true, allowImportingTsExtensions: true, types: [] },
    files: files.map((file) => `./${file}`),
    include: [],
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** Runs the compiler. Returns its errors as `file:line:column: message`, or null if there are none. */
export async function checkTypes({ bindings }, folder) {
  const compiler = fileURLToPath(installed('../typescript/bin/tsc'));
  const { code, output } = await run([compiler, '--project', join(bindings, 'tsconfig.json'), '--pretty', 'false'], folder);
  return code === 0 ? null : output.trim().replace(/^(\S[^\n]*?)\((\d+),(\d+)\): /gm, '$1:$2:$3: ');
}

function run(args, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (part) => (output += part));
    child.stderr.on('data', (part) => (output += part));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}

async function writeIfChanged(path, text) {
  const present = await readFile(path, 'utf8').catch(() => null);
  if (present === text) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

async function removeOthers(root, below, files) {
  for (const entry of await readdir(join(root, below), { withFileTypes: true })) {
    const name = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) await removeOthers(root, name, files);
    else if (!files.has(name)) await rm(join(root, name));
  }
}
