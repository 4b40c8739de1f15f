// What the default chain of the AWS SDK for Go 2 finds.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

func main() {
	start := time.Now()
	background := context.Background()
	ours, err := config.LoadDefaultConfig(background)
	if err != nil {
		panic(err)
	}
	found, err := ours.Credentials.Retrieve(background)
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
		"expiration":        found.Expires.UTC().Format(time.RFC3339),
		"took_ms":           took.Milliseconds(),
	}
	if os.Getenv("ASK_REGION") != "" {
		region, err := imds.NewFromConfig(ours).GetRegion(background, nil)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		} else {
			said["region"] = region.Region
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		panic(err)
	}
}
