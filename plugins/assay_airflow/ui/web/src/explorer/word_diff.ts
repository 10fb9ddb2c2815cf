// Which words of two captions differ. The cost is bounded: hostile captions may be a million characters long.

export interface Piece {
  text: string;
  differs: boolean;
}

const LONGEST = 500; // words a side for the exact comparison: at most 250,000 steps
const WORDS = /[\p{L}\p{N}\p{M}'\u2019_-]+|\s+|[^\p{L}\p{N}\p{M}\s]/gu;

/** Words, spaces and signs of `text`, in order. Scripts without spaces are cut by the browser's own rules. */
export function cutWords(text: string): string[] {
  if (/[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]/.test(text) && text.length <= 4000 && "Segmenter" in Intl) {
    return [...new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)].map((segment) => segment.segment);
  }
  return text.match(WORDS) ?? [];
}

/** For each word of both middles, whether it is outside their longest common subsequence. */
function compareExactly(left: string[], right: string[]): [boolean[], boolean[]] {
  const wide = right.length + 1;
  const longest = new Uint16Array((left.length + 1) * wide);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      longest[i * wide + j] = left[i] === right[j] ? longest[(i + 1) * wide + j + 1]! + 1 : Math.max(longest[(i + 1) * wide + j]!, longest[i * wide + j + 1]!);
    }
  }
  const marks: [boolean[], boolean[]] = [left.map(() => true), right.map(() => true)];
  let [i, j] = [0, 0];
  while (i < left.length && j < right.length) {
    if (left[i] === right[j]) {
      marks[0][i++] = false;
      marks[1][j++] = false;
    } else if (longest[(i + 1) * wide + j]! >= longest[i * wide + j + 1]!) i++;
    else j++;
  }
  return marks;
}

/** For texts too long for that: a word differs where the other text does not have it at all. */
function compareLoosely(left: string[], right: string[]): [boolean[], boolean[]] {
  const [lefts, rights] = [new Set(left), new Set(right)];
  return [left.map((word) => !rights.has(word)), right.map((word) => !lefts.has(word))];
}

function join(words: string[], marks: boolean[]): Piece[] {
  const pieces: Piece[] = [];
  words.forEach((word, index) => {
    const last = pieces[pieces.length - 1];
    const blank = !word.trim();
    const differs = blank ? Boolean(last?.differs && marks[index + 1]) : marks[index]!;
    if (last && last.differs === differs) last.text += word;
    else pieces.push({ text: word, differs });
  });
  return pieces;
}

/** Both texts as pieces, each marked where it differs from the other text. */
export function diffWords(left: string, right: string): [Piece[], Piece[]] {
  const [a, b] = [cutWords(left), cutWords(right)];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const [midA, midB] = [a.slice(head, a.length - tail), b.slice(head, b.length - tail)];
  const [marksA, marksB] = midA.length <= LONGEST && midB.length <= LONGEST ? compareExactly(midA, midB) : compareLoosely(midA, midB);
  const same = (count: number) => new Array<boolean>(count).fill(false);
  return [join(a, [...same(head), ...marksA, ...same(tail)]), join(b, [...same(head), ...marksB, ...same(tail)])];
}
