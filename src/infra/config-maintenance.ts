/** When what nobody finishes is swept up, and from what age on. */
import { invalid, type Settings } from './config-settings.js';
import * as v from './config-values.js';

export interface MaintenanceConfig {
  /** Between two sweeps, ms; 0: none by itself. */
  readonly sweepIntervalMs: number;
  /** Multipart uploads and rows that are younger are left alone, ms. */
  readonly sweepAgeMs: number;
}

const HOUR_MS = 3_600_000;
const DAY_S = 24 * 3600;

/**
 * `outlived`: what a sweep must be later than, ms, and the setting that says so; a session whose client may still come
 * back, and the key that its parts are encrypted with, are not to be swept from under it. Throws InvalidConfig.
 */
export function readMaintenance(
  settings: Settings,
  outlived: { ms: number; setting: string },
): MaintenanceConfig {
  const interval = settings.read({ env: ['LONGSHORE_SWEEP_INTERVAL'], schema: v.seconds(0, 30 * DAY_S) });
  const age = settings.read({ env: ['LONGSHORE_SWEEP_AGE'], schema: v.seconds(1, 365 * DAY_S) });
  const sweepAgeMs = age === undefined ? Math.max(48 * HOUR_MS, outlived.ms + 24 * HOUR_MS) : age * 1000;
  if (sweepAgeMs <= outlived.ms) {
    const hours = (ms: number): string => `${Math.round(ms / 360_000) / 10} h`;
    const message = `LONGSHORE_SWEEP_AGE is ${hours(sweepAgeMs)}, but must be longer than a session may live without a sign of its client: ${hours(outlived.ms)} (${outlived.setting})`;
    throw invalid('LONGSHORE_SWEEP_AGE', message);
  }
  return { sweepIntervalMs: (interval ?? DAY_S) * 1000, sweepAgeMs };
}
