// A net/http server, unchanged: it listens on $PORT and ends on SIGTERM.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: routes(), ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", shout)
	mux.HandleFunc("GET /count", count)
	return mux
}

func shout(w http.ResponseWriter, r *http.Request) {
	var event struct{ Text string }
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		http.Error(w, "the body must be JSON with a text", http.StatusBadRequest)
		return
	}
	w.Header().Set("content-type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{"text": strings.ToUpper(event.Text)})
}

func count(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/event-stream")
	for n := 1; n <= 3; n++ {
		fmt.Fprintf(w, "data: %d\n\n", n)
		http.NewResponseController(w).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}
