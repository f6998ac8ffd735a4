// Packs the package in the current directory as it would be published, and has publint and "are the types wrong" look at that.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const bin = join(dirname(fileURLToPath(import.meta.url)), "..", "node_modules", ".bin");
const folder = mkdtempSync(join(tmpdir(), "stepflow-package-"));

try {
  const packed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
    encoding: "utf8",
  });
  const found = JSON.parse(packed);
  const { filename } = Array.isArray(found) ? found[0] : Object.values(found)[0];
  const tarball = join(folder, filename);
  execFileSync(join(bin, "publint"), [tarball, "--strict"], { stdio: "inherit" });
  execFileSync(join(bin, "attw"), [tarball, "--format", "ascii", ...process.argv.slice(2)], {
    stdio: "inherit",
  });
} finally {
  rmSync(folder, { recursive: true });
}
