// Checks and runs the tests of device/, React Native being installed there if it is not, or not in these versions.
import { execFileSync } from "node:child_process";
import { existsSync, statSync, writeFileSync } from "node:fs";

const stamp = "device/node_modules/.installed";

function run(command, ...options) {
  execFileSync(command, options, { cwd: "device", stdio: "inherit" });
}

const isFresh = existsSync(stamp) && statSync(stamp).mtimeMs > statSync("device/package-lock.json").mtimeMs;
if (!isFresh) {
  run("npm", "ci", "--no-progress");
  writeFileSync(stamp, "");
}
run("npm", "run", "--silent", "check");
run("npm", "run", "--silent", "test", "--", ...process.argv.slice(2));
