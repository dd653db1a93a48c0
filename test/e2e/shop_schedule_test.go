package e2e

import (
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The web shop's objects are taken, and its pods get nodes.
func TestPodsOfTheShopAreScheduled(t *testing.T) {
	c := theClusterFor(t)
	var shop []string
	for _, name := range []string{"frontend", "backend", "database"} {
		text, err := os.ReadFile("../demo/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		shop = append(shop, string(text))
	}
	if err := c.Apply(t.Context(), shop...); err != nil {
		t.Fatal(err)
	}
	for {
		pods, err := c.Client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		scheduled := 0
		for _, p := range pods.Items {
			for _, condition := range p.Status.Conditions {
				if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionTrue {
					scheduled++
				}
			}
		}
		if scheduled == 7 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
}
