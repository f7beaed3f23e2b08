/** Every workflow that a worker serves. */
export { uploadJob } from './jobs.js';
export { sweepAbandonedUploads } from './maintenance.js';
export { monitorJob } from './monitor.js';
export { relayEvents } from './relay.js';
export { uploadObject } from './uploads.js';
