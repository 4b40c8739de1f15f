require_once 'AsyncAws/Core/autoload.php';

$start = microtime(true);
$found = (new AsyncAws\Core\Credentials\InstanceProvider())
    ->getCredentials(AsyncAws\Core\Configuration::create([]));
if ($found === null) {
    echo 'null';
} else {
    echo json_encode([
        'access_key_id' => $found->getAccessKeyId(),
        'secret_access_key' => $found->getSecretKey(),
        'token' => $found->getSessionToken(),
        'took_ms' => (int) round((microtime(true) - $start) * 1000),
    ]);
}
