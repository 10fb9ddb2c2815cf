// The frame of every page: names of the pages, a link to share, the help; and the page that the query string names.
import { useEffect, useState } from "preact/hooks";
import { CheckpointsPage } from "../checkpoints/page";
import { ComparePage } from "../compare/page";
import { ExplorerPage } from "../explorer/page";
import { RunPage } from "../run/page";
import { Help } from "./help";
import { useKeys } from "./keyboard";
import { Link } from "./link";
import { NewTab } from "./new_tab";
import { useQuery, type Change } from "./query";

const PAGES = { checkpoints: "Checkpoints", run: "Run", explorer: "Explorer", compare: "Compare" } as const;
type PageName = keyof typeof PAGES;

/** What another page shows of the runs that this page shows; null where it has nothing to show. */
function linkTo(page: PageName, query: URLSearchParams): Change | null {
  const [left, right] = [query.get("left"), query.get("right") ?? query.get("run")];
  const dag = { dag: query.get("dag"), dag_run: query.get("dag_run") };
  if (page === "checkpoints") return { page, suite: query.get("suite") };
  if (page === "compare") return left && right ? { page, left, right } : null;
  if (right) return page === "run" ? { page, run: right } : { page, left, right };
  return dag.dag_run ? { page, ...dag } : null;
}

export function App() {
  const query = useQuery();
  const [helps, setHelps] = useState(false);
  const wanted = query.get("page") ?? "checkpoints";
  const page: PageName = wanted in PAGES ? (wanted as PageName) : "checkpoints";
  useEffect(() => void (document.title = `${PAGES[page]} \u00b7 Assay`), [page]);
  useKeys([{ keys: ["?"], does: "show or hide these keys", run: () => setHelps(!helps) }]);
  return (
    <>
      <header class="top">
        <nav aria-label="Assay">
          <ul>
            {(Object.keys(PAGES) as PageName[]).map((name) => {
              const to = linkTo(name, query);
              if (name === page) return <li><a href={window.location.search} aria-current="page" onClick={(event) => event.preventDefault()}>{PAGES[name]}</a></li>;
              return to && <li><Link to={to}>{PAGES[name]}</Link></li>;
            })}
          </ul>
        </nav>
        <NewTab href={window.location.href} class="quiet" title="This view in a tab of its own: its address can be shared">Share</NewTab>
        <button type="button" class="button round" aria-label="Keys" title="Keys (?)" onClick={() => setHelps(true)}>?</button>
      </header>
      <main id="main">
        {page === "checkpoints" && <CheckpointsPage query={query} />}
        {page === "explorer" && <ExplorerPage query={query} />}
        {page === "run" && <RunPage query={query} />}
        {page === "compare" && <ComparePage query={query} />}
      </main>
      {helps && <Help close={() => setHelps(false)} />}
    </>
  );
}
