// A caption as text, the words that differ marked. Nothing of it is ever read as markup.
import type { CaptionSide } from "../shell/answers";
import { wordsOf } from "../shell/format";
import type { Piece } from "./word_diff";

const SHORT = 700; // characters in a list
const LONG = 20_000; // characters of the open image: a browser lays out a megabyte for minutes

/** Pieces up to `length` characters in all. */
export function clipPieces(pieces: Piece[], length: number): { pieces: Piece[]; clipped: boolean } {
  const kept: Piece[] = [];
  let room = length;
  for (const piece of pieces) {
    if (room <= 0) return { pieces: kept, clipped: true };
    kept.push({ ...piece, text: piece.text.slice(0, room) });
    room -= piece.text.length;
  }
  return { pieces: kept, clipped: room < 0 };
}

export function Caption(props: { side: CaptionSide | null; pieces: Piece[] | null; short: boolean }) {
  const { side } = props;
  if (!side) return <p class="caption muted">no run on this side</p>;
  const all = props.pieces ?? (side.caption === null ? [] : [{ text: side.caption, differs: false }]);
  const { pieces, clipped } = clipPieces(all, props.short ? SHORT : LONG);
  const unusual = side.status && side.status !== "ok";
  return (
    <>
      {unusual && <p class="state"><span class="badge unsure">{wordsOf(side.status!)}</span> {side.failure && <span class="muted">{side.failure.slice(0, 500)}</span>}</p>}
      {side.caption === null ? <p class="caption muted">no caption</p> : (
        <p class="caption" dir="auto">
          {side.caption === "" && <span class="muted">empty</span>}
          {pieces.map((piece) => (piece.differs ? <mark>{piece.text}</mark> : piece.text))}
          {(clipped || side.cut) && <span class="muted"> {"\u2026"}{props.short ? "" : " longer than this page shows; the CSV has all of it"}</span>}
        </p>
      )}
    </>
  );
}
