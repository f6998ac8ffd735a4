// How this package's tests are run: real servers, so a test file has a process of its own.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 120_000, // a deadline, not a wait: what takes long here is compilers and servers on a busy machine
    hookTimeout: 120_000,
    maxWorkers: 2,
    dangerouslyIgnoreUnhandledErrors: false,
  },
});
