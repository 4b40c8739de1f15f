// What the default chain of the AWS SDK for Go 1 finds.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/ec2metadata"
	"github.com/aws/aws-sdk-go/aws/session"
)

func main() {
	start := time.Now()
	ours := session.Must(session.NewSession())
	found, err := ours.Config.Credentials.Get()
	took := time.Since(start)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		fmt.Println("null")
		return
	}
	said := map[string]any{
		"version":           aws.SDKVersion,
		"access_key_id":     found.AccessKeyID,
		"secret_access_key": found.SecretAccessKey,
		"token":             found.SessionToken,
		"took_ms":           took.Milliseconds(),
	}
	if expiration, err := ours.Config.Credentials.ExpiresAt(); err == nil {
		said["expiration"] = expiration.UTC().Format(time.RFC3339)
	}
	if os.Getenv("ASK_REGION") != "" {
		region, err := ec2metadata.New(ours).Region()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		said["region"] = region
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		panic(err)
	}
}
