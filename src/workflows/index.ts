/** Every workflow that a worker serves. */
export { uploadObject } from './uploads.js';
