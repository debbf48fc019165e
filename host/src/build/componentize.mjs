// Makes a component of a JavaScript module. `watertight build` runs it by node, in the module's folder, so that the module's own
// `node_modules` are used: componentize-js as its `package-lock.json` pins it.
//
// Arguments: the module's main file, the file with its world, the world's name, the file to write.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [source, witPath, worldName, output] = process.argv.slice(1);

try {
  const { component } = await componentize({
    sourcePath: source,
    witPath,
    worldName,
    // What a module may use, its world imports and the manifest grants: nothing is ambient.
    disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
  });
  await writeFile(output, component);
} catch (error) {
  // The message has the compiler's own words and the place; the stack would be this tool's.
  console.error(error?.message ?? error);
  process.exitCode = 1;
}
