// The tests run twice: on React 19, and on the React 18 of the private package beside this one.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { defineConfig, type TestProjectConfiguration } from "vitest/config";

function on(name: string, packages: string): TestProjectConfiguration {
  const resolve = createRequire(join(packages, "package.json"));
  const folderOf = (each: string): string => dirname(resolve.resolve(`${each}/package.json`));
  // As ES modules, so that their own import of React is led to the right one as well.
  const library = join(folderOf("@testing-library/react"), "dist/@testing-library/react.esm.js");
  return {
    resolve: {
      alias: [
        { find: /^react(?=$|\/)/, replacement: folderOf("react") },
        { find: /^react-dom(?=$|\/)/, replacement: folderOf("react-dom") },
        { find: /^@testing-library\/react$/, replacement: library },
      ],
    },
    test: {
      name,
      include: ["test/**/*.test.tsx"],
      environment: "node", // a file that needs a page says so
      setupFiles: ["test/setup.ts"],
      env: { REACT_UNDER_TEST: name },
      testTimeout: 30_000,
      hookTimeout: 60_000,
      server: { deps: { inline: [/@testing-library\/react/] } },
    },
  };
}

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      on("React 19", import.meta.dirname),
      on("React 18", join(import.meta.dirname, "../react-18")),
      {
        test: { name: "package", include: ["test/*.test.ts"], testTimeout: 60_000, hookTimeout: 60_000 },
      },
    ],
  },
});
