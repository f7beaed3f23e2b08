/** Our own activities, called one after the other in a process of their own: what Longshore costs without Temporal. */
import { runMeasured } from '../measure.js';
import { buildProgram } from './programs.js';
import { awsEnvironment, type Place, type Run, type Tool } from './tool.js';

export async function createActivitiesOnly(place: Place): Promise<Tool> {
  const program = await buildProgram('activities-child');
  const env = awsEnvironment(place);
  return {
    name: 'activities only',
    settings: "Longshore's activities without Temporal and catalog, process start included",
    async put({ bucket, key }): Promise<Run> {
      const { lines, ...cost } = await runMeasured(process.execPath, [program, place.file, bucket, key], env);
      return { ...cost, phases: JSON.parse(lines.at(-1)?.text ?? '{}') as Record<string, number> };
    },
  };
}
