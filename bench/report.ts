/** Medians of the runs, as a table for people and as JSON. */
import type { Run, Tool } from './tools/tool.js';

export interface Series {
  tool: Pick<Tool, 'name' | 'settings'>;
  /** In the order of the rounds. */
  runs: Run[];
}

export interface Summary {
  name: string;
  settings: string;
  wallMs: { median: number; min: number; max: number };
  cpuSeconds: number;
  peakRssBytes: number;
  workerPeakRssBytes?: number | undefined;
  /** Wall time against each other tool's of the same round: the median of the rounds. */
  ratios: Record<string, number>;
  historyEvents?: number | undefined;
  overhead?: number | undefined;
  phases?: Record<string, number> | undefined;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = NaN, high = NaN] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}

export function summarize(all: readonly Series[]): Summary[] {
  return all.map(({ tool, runs }) => {
    const walls = runs.map(({ wallMs }) => wallMs);
    const highest = (values: readonly (number | undefined)[]): number | undefined => {
      const known = values.filter((value) => value !== undefined);
      return known.length === 0 ? undefined : Math.max(...known);
    };
    const overheads = runs.flatMap(({ overhead }) => overhead ?? []);
    return {
      ...{ name: tool.name, settings: tool.settings },
      wallMs: { median: median(walls), min: Math.min(...walls), max: Math.max(...walls) },
      cpuSeconds: median(runs.map(({ cpuSeconds }) => cpuSeconds)),
      peakRssBytes: highest(runs.map(({ peakRssBytes }) => peakRssBytes)) ?? 0,
      workerPeakRssBytes: highest(runs.map(({ workerPeakRssBytes }) => workerPeakRssBytes)),
      ratios: Object.fromEntries(all.map((other) => [other.tool.name, ratio(runs, other.runs)])),
      historyEvents: highest(runs.map(({ historyEvents }) => historyEvents)),
      overhead: overheads.length === 0 ? undefined : median(overheads),
      phases: phasesOf(runs),
    };
  });
}

function ratio(runs: readonly Run[], others: readonly Run[]): number {
  return median(runs.flatMap(({ wallMs }, round) => wallMs / (others[round]?.wallMs ?? NaN)));
}

function phasesOf(runs: readonly Run[]): Record<string, number> | undefined {
  const names = Object.keys(runs[0]?.phases ?? {});
  if (names.length === 0) return undefined;
  return Object.fromEntries(names.map((name) => [name, median(runs.map((run) => run.phases?.[name] ?? 0))]));
}

/** The lines that are printed. */
export function tableOf(summaries: readonly Summary[]): string[] {
  const against = summaries.map(({ name }) => name).filter((name) => name !== 'activities only');
  const header = ['', 'wall s (min–max)', 'CPU s', 'peak MiB', ...against.map((name) => `/ ${name}`)];
  const rows = summaries.map((each) => [
    each.name,
    `${seconds(each.wallMs.median)} (${seconds(each.wallMs.min)}–${seconds(each.wallMs.max)})`,
    each.cpuSeconds.toFixed(2),
    mebibytes(each.peakRssBytes),
    ...against.map((name) => (name === each.name ? '–' : (each.ratios[name] ?? NaN).toFixed(2))),
  ]);
  return [...aligned([header, ...rows]), '', ...summaries.flatMap(detailsOf)];
}

function detailsOf({ name, settings, ...each }: Summary): string[] {
  const { historyEvents, overhead, workerPeakRssBytes, phases } = each;
  const figures = [
    historyEvents === undefined ? [] : [`${historyEvents} history events`],
    workerPeakRssBytes === undefined ? [] : [`worker peak ${mebibytes(workerPeakRssBytes)} MiB`],
    overhead === undefined ? [] : [`Temporal and process start ${(overhead * 100).toFixed(1)} %`],
  ].flat();
  const steps = Object.entries(phases ?? {}).map(([step, ms]) => `${step} ${Math.round(ms)}`);
  return [
    `${name}: ${settings}`,
    ...(figures.length === 0 ? [] : [`  ${figures.join(', ')}`]),
    ...(steps.length === 0 ? [] : [`  ms: ${steps.join(', ')}`]),
  ];
}

function aligned(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  '),
  );
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2);
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(0);
}
