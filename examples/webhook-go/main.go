// Takes webhooks as GitHub signs them, by a function URL or any other sender of payload format 2.0. No dependency: Hearth adds the main.
package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

type Request struct {
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

type Response struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

func Handler(ctx context.Context, request Request) (Response, error) {
	secret := os.Getenv("WEBHOOK_SECRET")
	if secret == "" {
		return reply(http.StatusInternalServerError, "WEBHOOK_SECRET is not set."), nil
	}
	body := []byte(request.Body)
	if request.IsBase64Encoded {
		decoded, err := base64.StdEncoding.DecodeString(request.Body)
		if err != nil {
			return reply(http.StatusBadRequest, "The body is not base64."), nil
		}
		body = decoded
	}
	if !isSigned(body, request.Headers["x-hub-signature-256"], secret) {
		return reply(http.StatusUnauthorized, "The signature does not match the body."), nil
	}
	var event struct {
		Action string `json:"action"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return reply(http.StatusBadRequest, "The body is not JSON."), nil
	}
	fmt.Println("event", event.Action)
	return reply(http.StatusAccepted, "Taken: "+event.Action+"."), nil
}

func isSigned(body []byte, signature, secret string) bool {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	expected := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(expected), []byte(signature))
}

func reply(status int, message string) Response {
	text, _ := json.Marshal(map[string]string{"message": message})
	return Response{StatusCode: status, Headers: map[string]string{"content-type": "application/json"}, Body: string(text)}
}
