// Links that open in a new tab, also from inside Airflow's iframe.
//
// Airflow 3.3 puts a plugin's page into an iframe whose sandbox has no `allow-popups`, so a plain target="_blank" does
// nothing there. The parent's document is of the same origin and not in the sandbox: a link in it opens the tab.
import type { ComponentChildren } from "preact";

const SAFE = /^(https?:|$)/i;

/** The absolute URL of `href`, or null where it is neither http nor https: a record's link is hostile text. */
export function safeUrl(href: string | null | undefined): string | null {
  if (!href) return null;
  try {
    const url = new URL(href, window.location.href);
    return SAFE.test(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function parentDocument(): Document | null {
  if (window.parent === window) return null;
  try {
    return window.parent.document;
  } catch {
    return null; // another origin embeds this page
  }
}

export function openInNewTab(event: MouseEvent): void {
  const outer = parentDocument();
  if (!outer) return; // the browser follows the link
  event.preventDefault();
  const link = outer.createElement("a");
  link.href = (event.currentTarget as HTMLAnchorElement).href;
  link.target = "_blank";
  link.rel = "noopener";
  outer.body.append(link);
  link.click();
  link.remove();
}

export function NewTab(props: { href: string | null | undefined; class?: string; title?: string; children: ComponentChildren }) {
  const url = safeUrl(props.href);
  if (!url) return null;
  return (
    <a href={url} target="_blank" rel="noopener" class={props.class} title={props.title} onClick={openInNewTab}>
      {props.children}
      <span class="tab-mark" aria-hidden="true">{"\u2197"}</span>
      <span class="unseen"> (new tab)</span>
    </a>
  );
}
