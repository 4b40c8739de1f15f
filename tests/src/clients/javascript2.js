const AWS = require(process.env.AWS_SDK || "aws-sdk");

const start = process.hrtime.bigint();
AWS.config.getCredentials((error, found) => {
  if (error) {
    console.error(error.message);
    console.log("null");
    return;
  }
  console.log(JSON.stringify({
    version: AWS.VERSION,
    access_key_id: found.accessKeyId,
    secret_access_key: found.secretAccessKey,
    token: found.sessionToken,
    expiration: found.expireTime.toISOString().replace(".000Z", "Z"),
    took_ms: Number((process.hrtime.bigint() - start) / 1000000n),
  }));
});
