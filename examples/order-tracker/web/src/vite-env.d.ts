// What vite.config.ts lets through to the page.
interface ImportMetaEnv {
  readonly STEPFLOW_PUBLIC_KEY: string;
}
