package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// CallTimeout bounds one request from pod to pod. A lost packet is sent again after 1 s, then 2 and 4 s, so a slow answer
// still counts as one.
const CallTimeout = 10 * time.Second

// NewClient returns a client whose requests each open a connection of their own. When its time is over, the error says
// whether the connection was missing or the answer.
func NewClient(timeout time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: timeout * 9 / 10}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
}

// Call asks one pod, or a Service, for its page.
func Call(ctx context.Context, client *http.Client, url string) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	page := new(Answer)
	if err := json.Unmarshal(body, page); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return page, nil
}
