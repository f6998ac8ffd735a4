// Secure tokens: run tokens in a store like expo-secure-store, as the client's TokenManager wants to keep them.

import type { TokenStorage } from "@stepflow/client";

/** The part of `expo-secure-store` that is used. */
export interface SecureStoreLike {
  getItemAsync(key: string): Promise<string | null>;
  setItemAsync(key: string, value: string): Promise<void>;
  deleteItemAsync(key: string): Promise<void>;
}

/**
 * For `new TokenManager({ storage: secureTokenStorage(SecureStore) })`. (React Native's `AsyncStorage` fits as it is, unencrypted.)
 * Keys are written in the letters that such stores allow, each key in one way only.
 */
export function secureTokenStorage(store: SecureStoreLike): TokenStorage {
  return {
    getItem: (key) => store.getItemAsync(allowed(key)),
    setItem: (key, value) => store.setItemAsync(allowed(key), value),
    removeItem: (key) => store.deleteItemAsync(allowed(key)),
  };
}

/** Letters, digits, dot and hyphen stay; whatever else there is becomes its code between underscores. */
function allowed(key: string): string {
  return key.replace(/[^A-Za-z0-9.-]/gu, (letter) => `_${(letter.codePointAt(0) ?? 0).toString(16)}_`);
}
