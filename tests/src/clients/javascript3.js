const { defaultProvider } = require("@aws-sdk/credential-provider-node");
const { resolveDefaultsModeConfig } = require("@smithy/util-defaults-mode-node");
const { version } = require("@aws-sdk/credential-provider-node/package.json");

// It asks the metadata service for its own region and compares.
const REGION = "us-west-2";

(async () => {
  const start = process.hrtime.bigint();
  let found;
  try {
    found = await defaultProvider()();
  } catch (error) {
    console.error(error.message);
    console.log("null");
    return;
  }
  const took = process.hrtime.bigint() - start;
  let region = null;
  if (process.env.ASK_REGION) {
    const mode = await resolveDefaultsModeConfig({ region: REGION, defaultsMode: "auto" })();
    region = mode === "in-region" ? REGION : null;
  }
  console.log(JSON.stringify({
    version,
    access_key_id: found.accessKeyId,
    secret_access_key: found.secretAccessKey,
    token: found.sessionToken,
    expiration: found.expiration.toISOString().replace(".000Z", "Z"),
    region,
    took_ms: Number(took / 1000000n),
  }));
})();
