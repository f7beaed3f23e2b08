import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { describeConfig, loadConfig } from '../../src/infra/config.js';
import { selfSigned } from '../helpers/certificate.js';

const folder = mkdtempSync(join(tmpdir(), 'longshore-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const load = (env: Record<string, string>) =>
  loadConfig({ env: { LONGSHORE_DATA_DIR: folder, ...env }, cwd: folder });
const refusal = (env: Record<string, string>): unknown => {
  try {
    return load(env);
  } catch (error) {
    return error;
  }
};

describe('AWS KMS', () => {
  it('wraps nothing unless a key is named', () => {
    expect(load({}).kms).toBeUndefined();
  });

  it('is where the key’s ARN, or the region, says, with the credentials of AWS', () => {
    const keys = { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret-of-aws' };
    const arn = 'arn:aws:kms:eu-west-3:1:key/abc';
    expect(load({ LONGSHORE_KMS_KEY_ID: arn, ...keys }).kms).toMatchObject({
      ...{ keyId: arn, region: 'eu-west-3', accessKeyId: 'AKIAEXAMPLE' },
    });
    const named = load({ LONGSHORE_KMS_KEY_ID: 'alias/a', AWS_REGION: 'eu-north-1', ...keys });
    expect(named.kms).toMatchObject({ keyId: 'alias/a', region: 'eu-north-1' });
    expect(JSON.stringify(describeConfig(named))).not.toContain('secret-of-aws');
  });
});

describe('certificates', () => {
  it('are read from a file, for the server and for other stores', () => {
    const file = join(folder, 'ca.pem');
    const { cert } = selfSigned();
    writeFileSync(file, cert);
    const env = { LONGSHORE_S3_CA_FILE: file, LONGSHORE_STORES_OTHER_ENDPOINT: 'https://other.example' };
    const config = load(env);
    expect(config.s3.ca).toBe(cert);
    expect(config.stores['other']?.ca).toBe(cert);
    expect(load({ AWS_CA_BUNDLE: file }).s3.ca).toBe(cert);
    expect(describeConfig(config)).toMatchObject({ s3: { ca: '(set)' } });
  });

  it('that are none are refused by name', () => {
    const file = join(folder, 'none.pem');
    writeFileSync(file, 'no certificate');
    for (const path of [file, join(folder, 'absent'), folder])
      expect(refusal({ LONGSHORE_S3_CA_FILE: path })).toMatchObject({
        code: 'InvalidConfig',
        key: 'LONGSHORE_S3_CA_FILE',
      });
  });
});
