/** A session that takes one whole object: its client puts it at the key, through us or past us. */
import { CancellationScope, isCancellation, proxyActivities, sleep } from '@temporalio/workflow';
import type { SessionCatalogActivities } from '../activities/sessions.js';
import type { TransferActivities } from '../activities/uploads.js';
import type { FailureView } from '../core/errors.js';
import type { Incomplete } from '../core/sessions.js';
import type { Inspection, StoredObject, TruthToken } from '../core/upload-steps.js';
import { differenceOf } from '../core/validate-sessions.js';
import { CATALOG, CONTROL } from './activity-options.js';
import type { Brought } from './object-upload.js';
import { ClientUpload, type Asked } from './sessions.js';

const catalog = proxyActivities<SessionCatalogActivities>(CATALOG);
const transfer = proxyActivities<TransferActivities>(CONTROL);

/** Nobody may tell that the object is there. Each look is half as far again from the last, ms. */
const FIRST_LOOK_MS = 2_000;
const LAST_LOOK_MS = 3_600_000;

const NOTHING: Incomplete = {
  missing: [0],
  missingCount: 1,
  surplus: [],
  message: 'no object of this session is at the key, or it has another size',
};

export class WholeUpload extends ClientUpload {
  /** The generation in which it is taken. */
  private whole: number | undefined;

  protected async bring(): Promise<Brought> {
    const inspection = await this.inspect();
    return { stored: await this.take(inspection), inspection };
  }

  private async take(inspection: Inspection): Promise<StoredObject> {
    this.expect(inspection);
    const token = this.nextToken();
    await this.record.flush();
    this.record.note({ generations: this.generations });
    this.mayExist = { token, inspection };
    this.whole = (await this.open(inspection, token, null)).generation;
    for (let pause = FIRST_LOOK_MS; ; pause = Math.min(pause * 1.5, LAST_LOOK_MS)) {
      const over = await this.wait(() => false, pause).then(
        () => undefined,
        (error: unknown) => {
          if (isCancellation(error)) throw error;
          return { error };
        },
      );
      let seen = await this.compare(inspection, token);
      if (seen.fits !== undefined) {
        // Whoever puts it again meanwhile replaces what was seen: only what is there once nobody does counts.
        await this.setOpen(false);
        seen = await this.compare(inspection, token);
        if (seen.fits !== undefined) return this.taken(this.vouched(seen.fits, seen.asked?.ask), 1);
        if (over === undefined) await this.setOpen(true);
      }
      if (over !== undefined) throw over.error;
      const { asked, refused } = seen;
      if (asked !== undefined)
        this.answer(asked, refused === undefined ? { incomplete: NOTHING } : { refused });
    }
  }

  /** The object at the key, if it is ours and what its client says of it. */
  private async compare(
    inspection: Inspection,
    token: TruthToken,
  ): Promise<{ fits?: StoredObject; asked?: Asked | undefined; refused?: FailureView }> {
    const found = await this.look(inspection, token);
    const [asked] = this.asked;
    if (found === null) return { asked };
    const refused = differenceOf(asked?.ask ?? {}, found);
    return refused === undefined ? { fits: found, asked } : { refused, asked };
  }

  /** Once nobody may send it again, this waits for what was sent before. */
  private async setOpen(open: boolean): Promise<void> {
    if (this.whole === undefined) return;
    const summary = open ? 'let it be sent again' : 'let nobody send it again';
    const left = await catalog.setSessionOpen.executeWithOptions({ summary }, [
      { id: this.input.id, generation: this.whole, turn: ++this.turns, open },
    ]);
    if (left > 0) await sleep(left, { summary: 'let arrive what was sent before' });
  }

  protected override async abort(): Promise<void> {
    await CancellationScope.nonCancellable(() => this.setOpen(false));
    await super.abort();
  }

  private look(inspection: Inspection, token: TruthToken): Promise<StoredObject | null> {
    return this.placement.run((options) =>
      transfer.settleObject.executeWithOptions(
        { ...options, ...this.haste, summary: 'is the object there?' },
        [{ upload: this.input, inspection, token }],
      ),
    );
  }
}
