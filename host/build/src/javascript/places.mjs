// Maps positions in a bundle to positions in the author's files.
//
// `lines` has runs of consecutive lines: [first line in the bundle, index of the file, first line in the file].

/** Returns the file and line from which a line of the bundle comes, or null if it is not from an author's file. */
export function placeOf({ files, lines }, line) {
  let [low, high] = [0, lines.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines[middle][0] <= line) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return null;
  const [first, file, original] = lines[low - 1];
  return file < 0 ? null : `${files[file]}:${original + line - first}`;
}

/** A frame of the engine's stack: `function@file:line:column`. */
const FRAME = /^(.*)@(.*):(\d+):(\d+)$/;

/** The most frames of a stack that are reported. */
const MAX_FRAMES = 64;

/** Returns the frames of a stack that are in the author's files, as `function (file:line)`. */
export function framesOf(map, stack) {
  const frames = [];
  for (const text of String(stack ?? '').split('\n')) {
    const frame = FRAME.exec(text);
    if (!frame || !frame[2].endsWith(map.bundle)) continue;
    const place = placeOf(map, Number(frame[3]));
    if (place === null) continue;
    // The engine adds marks for where a function was created (`a/b<`) and how it was called (`async*`).
    const name = frame[1].replace(/^async\*/, '').replace(/\/?<$/, '').replace(/\[.*\]$/, '');
    frames.push(name === '' ? place : `${name} (${place})`);
    if (frames.length === MAX_FRAMES) break;
  }
  return frames;
}
