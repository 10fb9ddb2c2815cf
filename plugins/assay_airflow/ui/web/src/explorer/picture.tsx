// The image of a pair, as the model saw it.
import { useState } from "preact/hooks";
import type { PairRow } from "../shell/answers";

/** The relative URL of the image in a size; only `api/image` of this server is ever asked. */
export function imageUrl(image: string | null, size: "thumb" | "full"): string | null {
  return image?.startsWith("api/image?") ? `${image}&size=${size}` : null;
}

export function Picture(props: { row: PairRow; size: "thumb" | "full" }) {
  const [broken, setBroken] = useState<string | null>(null);
  const url = imageUrl(props.row.image, props.size);
  if (!url || broken === url) return <div class="picture none">no image</div>;
  return (
    <img class="picture" src={url} alt={`Image ${props.row.key}`} width={props.row.width ?? undefined} height={props.row.height ?? undefined}
      loading="lazy" decoding="async" onError={() => setBroken(url)} />
  );
}
