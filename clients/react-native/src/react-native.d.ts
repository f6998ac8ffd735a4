// The one thing of React Native that this package needs, so that it can be built without installing it.
// A program sees React Native's own types: this file is not published. The tests in device/ are checked against those.
declare module "react-native" {
  export const AppState: {
    readonly currentState: string | null;
    addEventListener(type: "change", listener: (state: string) => void): { remove(): void };
  };
}
