// The snippets of the documentation: each one compiles on its own, as a user's program would.
import { readFileSync, rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";
import { complaints } from "../../typescript/test/support/compiler.js";

const ROOT = resolve("../..");
const folder = resolve("build/snippets"); // inside the package, so that it finds itself by its name
const PAGES = [
  "clients/react/README.md",
  "clients/react-native/README.md",
  "docs/tutorial/react.md",
  "docs/tutorial/react-native.md",
];

/** As far as the snippets use them; a phone's packages are not installed here. */
const PHONE = `
declare module "react-native" {
  import type { ComponentType, ReactNode } from "react";
  export const View: ComponentType<{ children?: ReactNode }>;
  export const Text: ComponentType<{ children?: ReactNode }>;
  export const Button: ComponentType<{ title: string; disabled?: boolean; onPress: () => void }>;
}
declare module "@react-native-community/netinfo" {
  const NetInfo: {
    addEventListener(listener: (state: { isConnected: boolean | null; type: string }) => void): () => void;
  };
  export default NetInfo;
}
declare module "@react-native-async-storage/async-storage" {
  const AsyncStorage: {
    getItem(key: string): Promise<string | null>;
    setItem(key: string, value: string): Promise<void>;
    removeItem(key: string): Promise<void>;
  };
  export default AsyncStorage;
}
declare module "expo-secure-store" {
  export function getItemAsync(key: string, options?: { keychainService?: string }): Promise<string | null>;
  export function setItemAsync(key: string, value: string, options?: object): Promise<void>;
  export function deleteItemAsync(key: string, options?: object): Promise<void>;
}
`;
const REGISTERED = `
import "@stepflow/client";
declare module "@stepflow/client" {
  interface Register {
    workflows: { checkout: { input: { total: number }; output: { receipt: string } } };
  }
}
`;

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const base = JSON.parse(readFileSync(join(ROOT, "clients/tsconfig.base.json"), "utf8")) as {
  compilerOptions: object;
};

test.each(PAGES)("every snippet of %s compiles", (page) => {
  const found = [...readFileSync(join(ROOT, page), "utf8").matchAll(/^```tsx\n(.*?)^```$/gms)];
  expect(found).not.toEqual([]);
  const snippets = found.map(
    ([, text], index) => [`snippet-${index}.tsx`, `${text ?? ""}\nexport {};\n`] as const,
  );
  const files = { "phone.d.ts": PHONE, "registered.d.ts": REGISTERED, ...Object.fromEntries(snippets) };
  const options = { ...base.compilerOptions, jsx: "react-jsx" };
  expect(complaints(join(folder, basename(page), String(PAGES.indexOf(page))), files, options)).toBe("");
});
