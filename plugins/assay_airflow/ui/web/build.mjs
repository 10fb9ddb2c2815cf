// Bundles src/ and styles/ into app.js, app.css and licences.txt: `node build.mjs --outdir FOLDER`.
// The same sources and lock file give the same bytes, and no byte depends on the folder in which it runs.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const web = dirname(fileURLToPath(import.meta.url));
const flag = process.argv.indexOf("--outdir");
const outdir = flag > 0 ? process.argv[flag + 1] : join(web, "..", "static");

const result = await build({
  absWorkingDir: web,
  entryPoints: [
    { in: "src/main.tsx", out: "app" },
    { in: "styles/app.css", out: "app" },
  ],
  outdir,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "ascii",
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const match = input.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//);
  if (match) packages.add(match[1]);
}
const notices = [...packages].sort().map((name) => {
  const folder = join(web, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const text = readFileSync(join(folder, "LICENSE"), "utf8").trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
});
const head = "Third-party software in app.js, with its licences.\n";
writeFileSync(join(outdir, "licences.txt"), [head, ...notices].join(`\n${"-".repeat(80)}\n\n`));
