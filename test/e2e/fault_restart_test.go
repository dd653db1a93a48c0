package e2e

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Everything is restarted, one after the other: the proxies, the API server, the controllers, the scheduler, and the pods
// behind the Service.
func TestEverythingIsRestartedInTurn(t *testing.T) {
	c := theClusterFor(t)
	service := deployLingering(t, c, "rolling", 10)
	g := gatherOn(t, c, service, c.Nodes, c.Nodes...)
	for _, n := range c.Nodes {
		say("restarting the proxy of %s", n.Name)
		if err := n.Proxy.Restart(patient(t)); err != nil {
			t.Fatal(err)
		}
		g.flow("after the restart of the proxy of " + n.Name)
	}
	say("restarting the API server")
	c.Plane.KillAPIServer()
	startAPIServer(t, c)
	g.flow("after the restart of the API server")
	say("restarting the controllers and the scheduler")
	if err := c.Plane.Restart(patient(t)); err != nil {
		t.Fatal(err)
	}
	say("restarting the pods")
	patch := `{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "` + time.Now().Format(time.RFC3339) + `"}}}}}`
	if _, err := c.Client.AppsV1().Deployments(service.Namespace).Patch(patient(t), "echo", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitRollout(patient(t), service.Namespace, "echo"); err != nil {
		t.Fatal(err)
	}
	g.flow("after the restart of the pods")
	g.disperse()
}
