/** A node under another key, as requests ask for it. */
import * as z from 'zod';
import { CustomerKeyFields, SessionEncryption } from './sessions.js';
import * as v from './values.js';

export const NodeParams = z.object({ node_id: v.Id });

export const RotateNode = z
  .strictObject({
    upload_id: v.Id.optional().meta({ description: 'Of the upload that does it; made when left out' }),
    old_key: z
      .strictObject(CustomerKeyFields)
      .optional()
      .meta({ description: 'The customer’s key that the object is encrypted with now, if it is one' }),
    encryption: SessionEncryption,
  })
  .meta({ id: 'RotateNode' });

export type RotateBody = z.infer<typeof RotateNode>;

export const RotationStarted = z
  .object({
    upload_id: v.Id.meta({ description: 'GET /api/v1/objects/{upload_id} tells how it goes' }),
    node_id: v.Id,
    status: z.literal('created'),
  })
  .meta({ id: 'RotationStarted' });
