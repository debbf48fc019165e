// Places in a bundle, told in the author's own files and lines.
//
// `lines` has runs of lines that stand in the same order in both: [first line in the bundle, file's number, first line there].

/** The file and line that a line of the bundle comes from; null where it is none of the author's. */
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

/** How many frames of a stack are told. */
const MAX_FRAMES = 64;

/** A stack's frames in the author's files, as `function (file:line)`. */
export function framesOf(map, stack) {
  const frames = [];
  for (const text of String(stack ?? '').split('\n')) {
    const frame = FRAME.exec(text);
    if (!frame || !frame[2].endsWith(map.bundle)) continue;
    const place = placeOf(map, Number(frame[3]));
    if (place === null) continue;
    // The engine marks where a function was made (`a/b<`) and how it was called (`async*`).
    const name = frame[1].replace(/^async\*/, '').replace(/\/?<$/, '').replace(/\[.*\]$/, '');
    frames.push(name === '' ? place : `${name} (${place})`);
    if (frames.length === MAX_FRAMES) break;
  }
  return frames;
}
