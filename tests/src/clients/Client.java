import com.amazonaws.auth.AWSCredentials;
import com.amazonaws.auth.AWSSessionCredentials;
import com.amazonaws.auth.DefaultAWSCredentialsProviderChain;
import com.amazonaws.util.EC2MetadataUtils;
import com.amazonaws.util.VersionInfoUtils;

/** What the default chain of the AWS SDK for Java 1 finds. */
public class Client {
    public static void main(String[] arguments) {
        long start = System.nanoTime();
        AWSSessionCredentials found;
        try {
            AWSCredentials any = DefaultAWSCredentialsProviderChain.getInstance().getCredentials();
            found = (AWSSessionCredentials) any;
        } catch (com.amazonaws.SdkClientException error) {
            System.err.println(error.getMessage());
            System.out.println("null");
            return;
        }
        long took = (System.nanoTime() - start) / 1000000;
        String region = null;
        if (System.getenv("ASK_REGION") != null) {
            region = EC2MetadataUtils.getEC2InstanceRegion();
        }
        System.out.printf(
            "{\"version\":\"%s\",\"access_key_id\":\"%s\",\"secret_access_key\":\"%s\","
                + "\"token\":\"%s\",\"region\":%s,\"took_ms\":%d}%n",
            VersionInfoUtils.getVersion(), found.getAWSAccessKeyId(), found.getAWSSecretKey(),
            found.getSessionToken(), region == null ? "null" : "\"" + region + "\"", took);
        System.exit(0);
    }
}
