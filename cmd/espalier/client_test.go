package main

import (
	"testing"

	"espalier/cmd/espalier/config"
)

func TestClientObeysTheConfiguration(t *testing.T) {
	c, err := clientConfig(config.Source{
		Master: "https://10.0.0.1", QPS: -1, Burst: 3, ContentType: "application/json", AcceptContentTypes: "application/yaml",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "https://10.0.0.1" || c.QPS != -1 || c.Burst != 3 || c.ContentType != "application/json" || c.AcceptContentTypes != "application/yaml" {
		t.Errorf("host %s, %v requests a second, %d at once, sends %s, accepts %s", c.Host, c.QPS, c.Burst, c.ContentType, c.AcceptContentTypes)
	}
}
