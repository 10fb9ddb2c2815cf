import { useEffect, useRef, useState } from "preact/hooks";

/** A ref for an element, and its width in pixels: charts are drawn in real pixels, so that their text keeps its size. */
export function useWidth(first = 640): [{ current: HTMLDivElement | null }, number] {
  const element = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(first);
  useEffect(() => {
    const node = element.current;
    if (!node) return;
    const observer = new ResizeObserver(() => setWidth(Math.max(200, Math.floor(node.clientWidth))));
    observer.observe(node);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}
