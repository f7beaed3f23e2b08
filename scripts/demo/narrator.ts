/** What the demo says: short lines, each with the seconds since its start. */
import { MiB } from '../../src/core/limits.js';

export class Narrator {
  private readonly began = performance.now();

  constructor(private readonly out: (line: string) => void) {}

  title(text: string): void {
    this.out(`\n${text}\n`);
  }

  step(text: string): void {
    this.out(`${this.elapsed()}  ${text}`);
  }

  /** How the step ended. */
  done(text: string): void {
    this.out(`${this.elapsed()}    ${text}`);
  }

  note(text: string): void {
    for (const line of text.split('\n')) this.out(`${this.elapsed()}    ${line}`);
  }

  fault(text: string): void {
    for (const line of text.split('\n')) this.out(`  ✗ ${line}`);
  }

  table(rows: readonly (readonly [string, string])[]): void {
    const width = Math.max(...rows.map(([name]) => name.length));
    this.out('');
    for (const [name, value] of rows) this.out(`  ${name.padEnd(width)}  ${value}`);
    this.out('');
  }

  end(text: string): void {
    this.out(`${this.elapsed()}  ${text}`);
  }

  private elapsed(): string {
    return `${((performance.now() - this.began) / 1000).toFixed(1).padStart(6)} s`;
  }
}

export function mebibytes(bytes: number): string {
  return `${(bytes / MiB).toFixed(1)} MiB`;
}

export function percent(part: number, whole: number): string {
  return `${Math.round((part / whole) * 100)} %`;
}
