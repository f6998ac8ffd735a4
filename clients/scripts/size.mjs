// Prints what a page pays for an import from a package, bundled, minified and gzipped, and fails if that is over its budget.
// Usage: node size.mjs LIMIT WHAT [EXTERNAL…], in the package's directory; WHAT is a name that it exports, or "everything".
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const [limit, what, ...external] = process.argv.slice(2);
const { name, module } = JSON.parse(readFileSync("package.json", "utf8"));
const imported = what === "everything" ? "*" : `{ ${what} }`;
const { outputFiles } = await build({
  stdin: { contents: `export ${imported} from "${module}";`, resolveDir: "." },
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  external,
});
const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
console.log(`${name}, ${what}: ${size} bytes gzipped, of ${limit}`);
if (size > Number(limit)) {
  console.error(`${name} is over its size budget: make it smaller, or give a reason and raise the budget`);
  process.exit(1);
}
