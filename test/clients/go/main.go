package main

import (
	"context"
	"errors"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

func handle(ctx context.Context, event map[string]any) (map[string]any, error) {
	if event["fail"] == true {
		return nil, errors.New("on purpose")
	}
	own, _ := lambdacontext.FromContext(ctx)
	return map[string]any{"got": event, "id": own.AwsRequestID, "function": lambdacontext.FunctionName}, nil
}

func main() { lambda.Start(handle) }
